"""ONNX files run by onnxruntime: logits, greedy decoding by the cache, and a network for a task.

Shapes: B batch, T and S tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.errors import ParityError
from nas.exporters.hf import NATIVE_NAMES
from nas.exporters.onnx_graphs import BEGIN, DECODER, ENCODER, MODEL, PAST, PRESENT

Feed = dict[str, NDArray[Any]]
ERRORS_ONLY = 3  # of onnxruntime's levels


def open_onnx(folder: Path, suffix: str = "") -> OnnxRunner:
    """Open an export's files.

    Args:
        folder: The export.
        suffix: Between name and ending of its files.

    Raises:
        ParityError: If onnxruntime cannot open one.
    """
    names = (ENCODER, DECODER) if (folder / f"{ENCODER}.onnx").is_file() else (MODEL,)
    sessions = [_session(folder / f"{name}{suffix}.onnx") for name in names]
    return OnnxRunner(sessions[-1], sessions[0] if len(sessions) > 1 else None)


class OnnxRunner:
    """Sessions of one model.

    Args:
        main: The model, or the decoder of an encoder-decoder.
        encoder: Of an encoder-decoder.
    """

    def __init__(self, main: Any, encoder: Any = None) -> None:
        self._main, self._encoder = main, encoder
        self._outputs = [output.name for output in main.get_outputs()]
        self._empty = {
            given.name: (given.shape[1], given.shape[3])
            for given in main.get_inputs()
            if given.name.startswith(PAST)
        }

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the logits of whole inputs."""
        given = {NATIVE_NAMES[name]: value for name, value in inputs.items()}
        if self._encoder is not None:
            ids, mask = given.pop("input_ids"), given.pop("attention_mask")
            given |= self.encode(ids, mask)
        return self.step(given, None)[0]

    def encode(self, ids_BS: NDArray[Any], mask_BS: NDArray[Any]) -> Feed:
        """Return what the decoder takes of a source."""
        given = {"input_ids": ids_BS, "attention_mask": mask_BS}
        names = [output.name for output in self._encoder.get_outputs()]
        found = dict(zip(names, self._encoder.run(None, given), strict=True))
        return {"attention_mask": mask_BS, **found}

    def step(self, given: Feed, past: Feed | None) -> tuple[NDArray[np.float32], Feed]:
        """Return logits and what to hand to the next call.

        Args:
            given: Ids, and of an encoder-decoder what `encode` returned.
            past: What the previous call returned; None at the beginning.
        """
        if past is None:
            rows = len(next(iter(given.values())))
            past = {
                name: np.zeros((rows, heads, 0, width), np.float32)
                for name, (heads, width) in self._empty.items()
            }
        logits, *present = self._main.run(self._outputs, {**given, **past})
        names = [name.replace(PRESENT, PAST) for name in self._outputs[1:]]
        return logits, dict(zip(names, present, strict=True))

    def takes(self, name: str) -> bool:
        """Say whether there is such an input."""
        return any(given.name == name for given in self._main.get_inputs())

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """Return the likeliest next tokens, each by a step with the cache."""
        source = np.array([ids], dtype=np.int64)
        fixed: Feed = {}
        name, following = "input_ids", source
        if self._encoder is not None:
            fixed = self.encode(source, np.ones_like(source))
            name, following = "decoder_input_ids", np.array([[self.begin]], dtype=np.int64)
        written: list[int] = []
        past = None
        for _ in range(n):
            logits, past = self.step({name: following, **fixed}, past)
            following = logits[:, -1:].argmax(axis=-1)
            written.append(int(following[0, 0]))
        return written

    @property
    def begin(self) -> int:
        """The token that a decoder begins with, as its file says."""
        return int(self._main.get_modelmeta().custom_metadata_map[BEGIN])


class OnnxNetwork(nn.Module):
    """Sessions that a task can measure as it measures a family's network."""

    def __init__(self, runner: OnnxRunner) -> None:
        super().__init__()
        self._runner = runner
        self.place = nn.Parameter(torch.zeros(()))  # says that inputs go to the CPU

    def forward(
        self, first: Tensor, mask: Tensor | None = None, decoder_ids: Tensor | None = None
    ) -> Tensor:
        """Return the logits for the inputs of a head."""
        if first.is_floating_point():
            given = {"pixels": first}
        elif self._runner.takes("attention_mask"):
            given = {"ids": first, "mask": torch.ones_like(first) if mask is None else mask}
        else:
            given = {"ids": first}
        if decoder_ids is not None:
            given["decoder_ids"] = decoder_ids
        return torch.from_numpy(self._runner.run({k: v.numpy() for k, v in given.items()}))

    def encode(self, ids_BS: Tensor, mask_BS: Tensor | None) -> Feed:
        """Return what `step` takes as memory."""
        mask = torch.ones_like(ids_BS) if mask_BS is None else mask_BS
        return self._runner.encode(ids_BS.numpy(), mask.numpy())

    def step(
        self, decoder_ids: Tensor, memory: Feed, _mask: Tensor | None, past: Feed | None
    ) -> tuple[Tensor, Feed]:
        """Return logits and what to hand to the next call."""
        given = {"decoder_input_ids": decoder_ids.numpy(), **memory}
        logits, present = self._runner.step(given, past)
        return torch.from_numpy(logits), present


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no class of its own for all of them
        reason = " ".join(str(error).split())
        raise ParityError(f"{path}: onnxruntime cannot open it ({reason})") from error
