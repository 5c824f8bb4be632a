"""The graphs that ONNX files are made of, one or two a model.

`model` takes what the head takes. Of a decoder it also takes the keys and values of all earlier
tokens, none of them at the beginning, and returns those to hand to the next call. An
encoder-decoder has two: `encoder` returns each decoder layer's keys and values of the source,
`decoder` is such a graph with them.

Shapes: B batch, T and S tokens, P earlier tokens, G key/value heads, K head_dim.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from nas.exporters.hf import NATIVE_NAMES
from nas.exporters.tracing import example_inputs, input_dims, quiet, trace_network

if TYPE_CHECKING:
    from nas.model import Model

MODEL, ENCODER, DECODER = "model", "encoder", "decoder"
PAST, PRESENT, CROSS = "past_key_values", "present", "cross_key_values"
KINDS = ("key", "value")
BEGIN = "bos_token_id"  # in a file's metadata: what a decoder begins with

OPSET = 20  # the first with Gelu
ONE_FILE_BYTES = 1 << 30  # of weights; beyond them they lie beside the graph: protobuf ends at 2 GB


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A network to trace.

    Attributes:
        name: The file's, without its ending.
        network: Takes `inputs` in their order.
        inputs: Examples by name; a list is as many inputs.
        dims: The free sizes of each.
        input_names: Of each input, lists unfolded.
        output_names: As they are returned.
    """

    name: str
    network: nn.Module
    inputs: Mapping[str, Any]
    dims: Mapping[str, Any]
    input_names: Sequence[str]
    output_names: Sequence[str]


def graphs_of(model: Model) -> list[Graph]:
    """Return the graphs of a model."""
    with torch.no_grad():
        if model.task_spec.head == "causal_lm":
            return [_decoder_only(model)]
        if model.task_spec.head == "seq2seq":
            return _encoder_and_decoder(model)
    inputs = example_inputs(model)
    return [
        Graph(
            name=MODEL,
            network=model.network,
            inputs=inputs,
            dims=input_dims(model, inputs),
            input_names=[NATIVE_NAMES[name] for name in inputs],
            output_names=["logits"],
        )
    ]


def write_graph(model: Model, graph: Graph, folder: Path) -> None:
    """Trace a graph and write its file.

    Raises:
        ExportError: If it cannot be traced.
    """
    with torch.no_grad():
        graph.network(*graph.inputs.values())  # networks keep tables of positions, made when used
    program = trace_network(model, "onnx", graph.network, graph.inputs, graph.dims)
    with quiet(), _no_logging():
        converted = torch.onnx.export(
            program,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert converted is not None, "dynamo=True returns the program"
    _name_sizes(converted.model.graph, graph)
    _clear_notes(converted.model.graph)
    begin = model.task_spec.bos_token_id
    if begin is not None:
        converted.model.metadata_props[BEGIN] = str(begin)
    large = 4 * model.manifest.params > ONE_FILE_BYTES
    converted.save(folder / f"{graph.name}.onnx", external_data=large)


def layer_names(prefix: str, count: int) -> list[str]:
    """Return the names of the keys and values of `count` layers."""
    return [f"{prefix}.{layer}.{kind}" for layer in range(count) for kind in KINDS]


class _Step(nn.Module):
    """A decoder's step with its cache as a flat list."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BT: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        logits, present = self.network.step(ids_BT, _in_pairs(past))  # type: ignore[operator]  # a writing network has it
        return logits, [part for layer in present for part in layer]


class _Encoder(nn.Module):
    """From a source to each decoder layer's keys and values of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_BS: Tensor, mask_BS: Tensor) -> list[Tensor]:
        memory = self.network.encode(ids_BS, mask_BS)  # type: ignore[operator]  # a seq2seq network has it
        # What a first step keeps; the step itself is dead code that no graph has.
        _, kept = self.network.step(ids_BS[:, :1], memory, mask_BS, None)  # type: ignore[operator]  # as above
        return [part for layer in kept for part in layer[2:]]


class _Decoder(nn.Module):
    """A step of an encoder-decoder with its caches as flat lists."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, ids_BT: Tensor, mask_BS: Tensor, past: list[Tensor], cross: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        layers = [
            (*own, *theirs) for own, theirs in zip(_in_pairs(past), _in_pairs(cross), strict=True)
        ]
        logits, present = self.network.step(ids_BT, None, mask_BS, layers)  # type: ignore[operator]  # as above
        return logits, [part for layer in present for part in layer[:2]]


def _decoder_only(model: Model) -> Graph:
    ids_BT = _few_tokens(example_inputs(model)["ids"], model.task_spec.context)
    _, kept = model.network.step(ids_BT[:, 1:], None)  # type: ignore[operator]  # a writing network has it
    past = [part for layer in kept for part in layer]
    dims = input_dims(model, {"ids": ids_BT}, room=1)["ids"]
    earlier = {0: dims[0], 2: Dim("past", min=1, max=_most(model, 1))}
    return Graph(
        name=MODEL,
        network=_Step(model.network),
        inputs={"ids": ids_BT, "past": past},
        dims={"ids": dims, "past": [earlier] * len(past)},
        input_names=["input_ids", *layer_names(PAST, len(kept))],
        output_names=["logits", *layer_names(PRESENT, len(kept))],
    )


def _encoder_and_decoder(model: Model) -> list[Graph]:
    inputs = example_inputs(model)
    dims = input_dims(model, inputs, room=1)
    ids, mask = inputs["ids"], inputs["mask"]
    ids_BT = _few_tokens(inputs["decoder_ids"], model.task_spec.context)
    memory = model.network.encode(ids, mask)  # type: ignore[operator]  # a seq2seq network has it
    _, kept = model.network.step(ids_BT[:, 1:], memory, mask, None)  # type: ignore[operator]  # as above
    past, cross = ([part for layer in kept for part in layer[at]] for at in (_OWN, _THEIRS))
    batch, source = (dims["ids"][axis] for axis in (0, 1))
    earlier = Dim("past", min=1, max=_most(model, 1))
    names = ["input_ids", "attention_mask"]
    return [
        Graph(
            name=ENCODER,
            network=_Encoder(model.network),
            inputs={"ids": ids, "mask": mask},
            dims={"ids": dims["ids"], "mask": dims["mask"]},
            input_names=names,
            output_names=layer_names(CROSS, len(kept)),
        ),
        Graph(
            name=DECODER,
            network=_Decoder(model.network),
            inputs={"decoder_ids": ids_BT, "mask": mask, "past": past, "cross": cross},
            dims={
                "decoder_ids": dims["decoder_ids"],
                "mask": dims["mask"],
                "past": [{0: batch, 2: earlier}] * len(past),
                "cross": [{0: batch, 2: source}] * len(cross),
            },
            input_names=[
                "decoder_input_ids",
                "attention_mask",
                *layer_names(PAST, len(kept)),
                *layer_names(CROSS, len(kept)),
            ],
            output_names=["logits", *layer_names(PRESENT, len(kept))],
        ),
    ]


_OWN, _THEIRS = slice(0, 2), slice(2, 4)  # in what a step of an encoder-decoder keeps of a layer


def _few_tokens(ids_BT: Tensor, context: int) -> Tensor:
    """Return ids that fit into the context with as many before them."""
    return ids_BT[:, : max(2, context // 2)]


def _most(model: Model, room: int) -> int:
    return max(2, model.task_spec.context - room)


def _in_pairs(parts: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _name_sizes(graph: Any, traced: Graph) -> None:
    """Call free sizes by our names instead of the tracer's symbols."""
    import onnx_ir

    dims = _unfolded(traced)
    known = {
        str(value.shape[axis]): dim.__name__
        for value, free in zip(graph.inputs, dims, strict=True)
        for axis, dim in free.items()
    }
    for value in (*graph.inputs, *graph.outputs):
        value.shape = onnx_ir.Shape([_named(size, known) for size in value.shape])


def _clear_notes(graph: Any) -> None:
    """Leave out the tracer's notes, which would be most of a small graph's file."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def _named(size: Any, known: Mapping[str, str]) -> int | str:
    if isinstance(size, int):
        return size
    return re.sub(r"\w+", lambda found: known.get(found[0], found[0]), str(size))


def _unfolded(traced: Graph) -> list[Mapping[int, Any]]:
    found: list[Mapping[int, Any]] = []
    for name in traced.inputs:
        free = traced.dims[name]
        found += free if isinstance(free, list) else [free]
    return found


@contextmanager
def _no_logging() -> Iterator[None]:
    """Leave out what torch.onnx says of packages that no graph of ours needs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
