"""The golden inputs, and the file that stores them with the logits; numpy alone, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from nas.artifact.bounds import MAX_ROWS, MAX_TOKENS
from nas.artifact.folder import broken
from nas.artifact.header import Tensors, read_header
from nas.artifact.manifest import GOLDEN, Manifest, file_path
from nas.records import TaskSpec

Array = NDArray[Any]

INPUTS = {
    "causal_lm": ("ids",),
    "classify": ("ids", "mask"),
    "classify_image": ("pixels",),
    "seq2seq": ("ids", "mask", "decoder_ids"),
}
LOGITS = "logits"

# fp32 sums in another order: 2.5e-6 was measured between CPU kernels; GPUs differ more.
CPU_TOLERANCE = 1e-4
GPU_TOLERANCE = 1e-3


def golden_arrays(spec: TaskSpec) -> dict[str, Array]:
    """Return an input of each kind that the head takes, in the order in which it takes them.

    Ids are spread over the vocabulary; where there is a mask, the second of two texts is shorter.
    """
    if spec.head == "classify_image":
        side = spec.image_size
        ramp = np.arange(spec.n_channel * side * side, dtype=np.float32)
        return {"pixels": np.sin(ramp).reshape(1, spec.n_channel, side, side)}
    if spec.head == "causal_lm":
        return {"ids": _ids(spec, rows=1)}
    ids = _ids(spec, rows=2)
    mask = np.ones_like(ids)
    mask[1, (ids.shape[1] + 1) // 2 :] = 0
    inputs = {"ids": ids, "mask": mask}
    if spec.head == "seq2seq":
        inputs["decoder_ids"] = ids[::-1, : max(1, ids.shape[1] // 2)].copy()
    return inputs


def read_golden(folder: Path, manifest: Manifest) -> tuple[dict[str, Array], Array]:
    """Return the stored inputs by name, each one that the model can take, and their logits.

    None is read before the header says that a network could take and make them.

    Raises:
        ArtifactError: If the file is missing or damaged, or has other or larger inputs.
    """
    path, spec = file_path(folder, manifest, GOLDEN), manifest.task_spec
    found, kinds = read_header(folder, path), INPUTS[spec.head]
    if sorted(found) != sorted([*kinds, LOGITS]) or found[LOGITS][0] != "F32":
        names = ", ".join([*kinds, LOGITS])
        raise broken(folder, GOLDEN, f"has {', '.join(found) or 'nothing'}, expected {names}")
    for name in kinds:
        _check_shape(folder, name, found, spec)
    with safe_open(path, framework="numpy") as file:
        inputs = {name: file.get_tensor(name) for name in kinds}
        logits = file.get_tensor(LOGITS)
    for name, ids in inputs.items():
        highest = 1 if name == "mask" else spec.vocab_size - 1
        if name != "pixels" and not 0 <= int(ids.min()) <= int(ids.max()) <= highest:
            raise broken(folder, GOLDEN, f"has {name} outside 0 to {highest}")
    return inputs, logits


def check_logits(folder: Path, found: Array, logits: Array, tolerance: float) -> None:
    """Compare a model's logits with the stored ones.

    Raises:
        ArtifactError: If they are of another shape, or differ by more than the tolerance.
    """
    if found.shape != logits.shape:
        raise broken(folder, GOLDEN, f"has logits {logits.shape} of another model")
    with np.errstate(over="ignore", invalid="ignore"):  # numbers of a stranger
        worst = np.abs(found - logits).max()
        if np.allclose(found, logits, rtol=tolerance, atol=tolerance):
            return
    raise broken(folder, GOLDEN, f"the logits differ by {worst:.2g}, allowed is {tolerance:g}")


def _ids(spec: TaskSpec, *, rows: int) -> Array:
    length = min(MAX_TOKENS, spec.context)
    ids = np.arange(rows * length, dtype=np.int64) * max(1, spec.vocab_size // (rows * length))
    return (ids % spec.vocab_size).reshape(rows, length)


def _check_shape(folder: Path, name: str, found: Tensors, spec: TaskSpec) -> None:
    """Raise where a stored input is none that the network could take, or is large."""
    dtype, shape = found[name]
    wanted, ndim = ("F32", 4) if name == "pixels" else ("I64", 2)
    rows = found[next(iter(INPUTS[spec.head]))][1][:1]
    if dtype != wanted or len(shape) != ndim or 0 in shape or shape[:1] != rows:
        raise broken(folder, GOLDEN, f"has {name} {shape} that are no input of the model")
    if name == "pixels" and shape[1:] != (spec.n_channel, spec.image_size, spec.image_size):
        raise broken(folder, GOLDEN, f"has {name} {shape} of another image size")
    if name == "mask" and shape != found["ids"][1]:
        raise broken(folder, GOLDEN, f"has a mask {shape} for ids {found['ids'][1]}")
    if name != "pixels" and shape[1] > spec.context:
        raise broken(folder, GOLDEN, f"has {name} beyond the context of {spec.context}")
    if shape[0] > MAX_ROWS or (name != "pixels" and shape[1] > MAX_TOKENS):
        raise broken(folder, GOLDEN, f"has {name} {shape}, more than is run to verify a model")
