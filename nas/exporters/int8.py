"""ONNX files with 8-bit weights, by onnxruntime's dynamic quantisation, and what that costs.

Matrices get a scale a column and tables of embeddings one scale; activations are quantised while
the model runs, each product's input with a scale of its own.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data import PreparedData
from nas.data.prepared import DATA_JSON
from nas.errors import ExportError
from nas.exporters.onnx_runner import OnnxNetwork, OnnxRunner, open_onnx
from nas.tasks import Task, task_class

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nas.model import Model

SUFFIX = "_int8"
MEASURED_TOKENS = 1 << 17  # of the validation split
REPEATS = 30


def quantize_all(folder: Path) -> None:
    """Write `NAME_int8.onnx` beside each `NAME.onnx`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a preparation that the exporter has done
    try:
        for path in sorted(folder.glob("*.onnx")):
            quantize_dynamic(
                path,
                path.with_name(f"{path.stem}{SUFFIX}.onnx"),
                op_types_to_quantize=["MatMul", "Gather"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                reduce_range=True,  # 7 bits: products of 8 overflow on x86 without VNNI
            )
    finally:
        logging.disable(before)


def find_data(model: Model, given: Path | None) -> PreparedData:
    """Return the prepared data that int8 is measured on.

    Args:
        model: In its study's folder, unless `given`.
        given: A study's `data` folder.

    Raises:
        ExportError: If there is none, or the model does not fit it.
    """
    assert model.folder is not None, "nas.load reads models from folders"
    place = given if given is not None else model.folder.resolve().parents[1] / "data"
    if not (place / DATA_JSON).is_file():
        raise ExportError(
            f"export to onnx: int8 is measured on validation data, and {place} holds none; name a "
            "study's data folder with --data"
        )
    prepared = PreparedData.open(place)
    ours, theirs = model.task_spec, prepared.spec
    if (ours.task, ours.vocab_size, ours.labels) != (theirs.task, theirs.vocab_size, theirs.labels):
        raise ExportError(
            f"export to onnx: {place} is prepared for another model (task {theirs.task}, "
            f"{theirs.vocab_size:,} tokens, {theirs.n_class} classes); expected {ours.task}, "
            f"{ours.vocab_size:,}, {ours.n_class}"
        )
    if model.manifest.recipe is None:
        raise ExportError(
            f"{model.folder}: was never trained, so that int8 has no loss to be measured by"
        )
    prepared.need("val")
    return prepared


def measure(model: Model, folder: Path, prepared: PreparedData) -> dict[str, float]:
    """Measure 8-bit files beside those they were made from.

    Returns:
        `int8_bytes` and `fp32_bytes` of the files, `int8_ms` and `fp32_ms` (medians of a pass over
        one example of the full context), `int8_val_loss` and `fp32_val_loss` (of the ONNX files).
    """
    recipe = model.manifest.recipe
    assert recipe is not None, "find_data has looked"
    task = task_class(model.task_spec.task)(prepared, recipe, model.manifest.seed or 0)
    runners = {"fp32": open_onnx(folder), "int8": open_onnx(folder, SUFFIX)}
    figures: dict[str, float] = {}
    times = _times(model, runners)
    for name, runner in runners.items():
        figures[f"{name}_bytes"] = _bytes(folder, "" if name == "fp32" else SUFFIX)
        figures[f"{name}_ms"] = times[name]
        figures[f"{name}_val_loss"] = _loss(task, runner)
    return figures


def _loss(task: Task, runner: OnnxRunner) -> float:
    return task.evaluate(OnnxNetwork(runner), "val", max_tokens=MEASURED_TOKENS)["loss"]


def _times(model: Model, runners: Mapping[str, OnnxRunner]) -> dict[str, float]:
    """Return the median milliseconds of a pass; runners take turns: a busy moment is for both."""
    inputs = _full_example(model)
    found: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(REPEATS):
        for name, runner in runners.items():
            begun = time.perf_counter()
            runner.run(inputs)
            found[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in found.items()}


def _full_example(model: Model) -> dict[str, NDArray[np.generic]]:
    import torch

    from nas.artifact.golden import golden_inputs

    spec, inputs = model.task_spec, golden_inputs(model.task_spec)
    if spec.head == "classify_image":
        return {"pixels": inputs["pixels"].numpy()}
    full: Any = torch.arange(spec.context)[None] % spec.vocab_size
    return {name: (torch.ones_like(full) if name == "mask" else full).numpy() for name in inputs}


def _bytes(folder: Path, suffix: str) -> float:
    """Return the size of the fp32 or of the 8-bit files, weights beside a graph included."""
    files = [path for path in folder.iterdir() if ".onnx" in path.name]
    is_int8 = {path: f"{SUFFIX}.onnx" in path.name for path in files}
    return float(sum(path.stat().st_size for path in files if is_int8[path] == bool(suffix)))
