"""To ONNX, run by onnxruntime: batch and lengths free, decoders with a key-value cache.

`onnx_graphs` makes the files, `onnx_runner` runs them and `int8` halves them twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nas.errors import ExportError
from nas.exporters import int8
from nas.exporters.onnx_graphs import graphs_of, write_graph
from nas.exporters.onnx_runner import OnnxRunner, open_onnx
from nas.exporters.packages import need_packages
from nas.records import WRITING_HEADS

if TYPE_CHECKING:
    from nas.model import Model

LEAST_CONTEXT = 4  # of what writes: below it the tracer has no two lengths to tell apart


class OnnxExporter:
    """Writes `model.onnx`, or `encoder.onnx` and `decoder.onnx`.

    Args:
        int8: Also write each file with 8-bit weights (`model_int8.onnx`) and measure size, speed
            and validation loss.
        data: The `data` folder of a study to measure on; that of the model's own study if left out.
    """

    bound: ClassVar[float] = 1e-4

    def __init__(self, *, int8: bool = False, data: str | Path | None = None) -> None:
        need_packages("onnx", "onnx", "onnx", "onnxscript", "onnxruntime")
        if data is not None and not int8:
            raise ExportError("export to onnx: data is what int8 is measured on; ask for int8 too")
        self._int8, self._data = int8, Path(data) if data is not None else None

    def refuse(self, model: Model) -> None:
        """Raise where int8 could not be measured, or nothing could be written step by step."""
        spec = model.task_spec
        if spec.head in WRITING_HEADS and spec.context < LEAST_CONTEXT:
            raise ExportError(
                f"export to onnx: context {spec.context} is too short for a graph with a "
                f"key-value cache; expected {LEAST_CONTEXT} at least"
            )
        if self._int8:
            int8.find_data(model, self._data)

    def write(self, model: Model, folder: Path) -> None:
        """Write the files."""
        for graph in graphs_of(model):
            write_graph(model, graph, folder)
        if self._int8:
            int8.quantize_all(folder)

    def open(self, folder: Path) -> OnnxRunner:
        """Open the fp32 files."""
        return open_onnx(folder)

    def measure(self, model: Model, folder: Path) -> dict[str, float]:
        """Return size, speed and validation loss of the 8-bit files beside the others."""
        if not self._int8:
            return {}
        return int8.measure(model, folder, int8.find_data(model, self._data))
