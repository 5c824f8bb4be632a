"""A network traced with torch.export: batch and lengths stay free, and nothing is drawn or saved.

Shapes: B batch, T and S tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.fx.experimental._config
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nas.artifact.golden import golden_inputs
from nas.errors import ExportError

if TYPE_CHECKING:
    from nas.model import Model


def trace(model: Model, target: str) -> ExportedProgram:
    """Return the graph of the model's network; it takes its head's inputs in their order.

    Raises:
        ExportError: If the network cannot be traced, which ours can: a family of the user's own.
    """
    inputs = example_inputs(model)
    with torch.no_grad():
        model.network(*inputs.values())  # networks keep tables of positions, made when first used
    return trace_network(model, target, model.network, inputs, input_dims(model, inputs))


def trace_network(
    model: Model,
    target: str,
    network: nn.Module,
    inputs: Mapping[str, Any],
    dims: Mapping[str, Any],
) -> ExportedProgram:
    """Return the graph of a network.

    Args:
        model: What is exported, for the message.
        target: The exporter's name, for the message.
        network: In eval mode.
        inputs: Examples by name, in the order of the network's arguments.
        dims: The free sizes of each, by dimension.

    Raises:
        ExportError: If it cannot be traced.
    """
    if (fill := getattr(model.network, "fill_tables", None)) is not None:
        fill()
    try:
        with torch.no_grad(), quiet(), _lengths_of_one():
            program = torch.export.export(
                network,
                tuple(inputs.values()),
                dynamic_shapes=tuple(dims[name] for name in inputs),
                strict=False,
            )
        return _without_traces(program)
    except Exception as error:  # whatever a module's code raises under torch.export
        reason = str(error).strip().splitlines()
        raise ExportError(
            f"export to {target}: family '{model.architecture.family}' cannot be traced with free "
            f"batch and length ({type(error).__name__}: {reason[0] if reason else ''})"
        ) from error


def example_inputs(model: Model) -> dict[str, Tensor]:
    """Return inputs of two rows, which are not those of the gate."""
    golden = golden_inputs(model.task_spec)
    return {name: torch.cat((value, value))[:2] for name, value in golden.items()}


def input_dims(
    model: Model, inputs: Mapping[str, Tensor], *, room: int = 0
) -> dict[str, dict[int, Dim]]:
    """Return the free sizes of each input of a head, `room` below the context at most."""
    # A Dim of a single size is refused, so a context of 1 has lengths of up to 2.
    longest = max(2, model.task_spec.context - room)
    batch = Dim("batch", min=1)
    length, written = Dim("length", min=1, max=longest), Dim("written", min=1, max=longest)
    named = {"decoder_ids": {0: batch, 1: written}, "pixels": {0: batch}}
    return {name: named.get(name, {0: batch, 1: length}) for name in inputs}


def _without_traces(program: ExportedProgram) -> ExportedProgram:
    """Leave out which line of code on this machine each node came from."""
    for node in program.graph.nodes:
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
            node.meta.pop(name, None)
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings of torch's own exporting code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _lengths_of_one() -> Iterator[None]:
    """Have a length of 1 no case apart: by default torch.export traces for 2 and more."""
    settings: Any = torch.fx.experimental._config  # mypy sees nothing of what it gets at import
    with settings.patch(backed_size_oblivious=True):
        yield
