"""To torch.export: a `.pt2` file that torch alone runs, with none of our code installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas.errors import ParityError
from nas.exporters.tracing import quiet, trace

if TYPE_CHECKING:
    from nas.model import Model

FILE = "model.pt2"


class TorchExporter:
    """Writes the traced graph with its weights."""

    bound: ClassVar[float] = 1e-6
    runs_code: ClassVar[bool] = True  # torch.export.load unpickles

    def refuse(self, model: Model) -> None:
        """Raise nothing: what torch runs, torch.export takes."""

    def write(self, model: Model, folder: Path) -> None:
        """Write `model.pt2`; batch and lengths are free up to the context."""
        program = trace(model, "torch")
        with quiet():
            torch.export.save(program, folder / FILE)

    def open(self, folder: Path) -> TorchRunner:
        """Open the file.

        Raises:
            ParityError: If it cannot be read.
        """
        try:
            with quiet():
                program = torch.export.load(folder / FILE)
        except Exception as error:  # torch.export raises nothing narrower for a damaged file
            raise ParityError(f"{folder / FILE}: torch cannot open it ({error})") from error
        return TorchRunner(program.module())


class TorchRunner:
    """A loaded graph."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the logits."""
        with torch.no_grad():
            logits = self._network(*(torch.from_numpy(value) for value in inputs.values()))
        found: NDArray[np.float32] = logits.numpy()
        return found
