"""The golden inputs, and the file that stores them with the logits; numpy alone, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from nas.artifact.manifest import GOLDEN, Manifest, broken, file_path
from nas.records import TaskSpec

Array = NDArray[Any]

LOGITS = "logits"
_MAX_TOKENS = 16

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

    Raises:
        ArtifactError: If the file is missing or damaged, or has other inputs.
    """
    path, expected = file_path(folder, manifest, GOLDEN), golden_arrays(manifest.task_spec)
    try:
        with safe_open(path, framework="numpy") as file:
            inputs = {name: file.get_tensor(name) for name in expected}
            logits = file.get_tensor(LOGITS)
    except (SafetensorError, OSError, ValueError) as error:
        raise broken(folder, GOLDEN, f"is not a whole safetensors file ({error})") from error
    for name, example in expected.items():
        _check_input(folder, name, inputs[name], example, manifest.task_spec)
    return inputs, logits


def check_logits(folder: Path, found: Array, logits: Array, tolerance: float) -> None:
    """Compare a model's logits with the stored ones.

    Raises:
        ArtifactError: If they are of another shape, or differ by more than the tolerance.
    """
    if found.shape != logits.shape:
        raise broken(folder, GOLDEN, f"has logits {logits.shape} of another model")
    if not np.allclose(found, logits, rtol=tolerance, atol=tolerance):
        worst = np.abs(found - logits).max()
        raise broken(folder, GOLDEN, f"the logits differ by {worst:.2g}, allowed is {tolerance:g}")


def _ids(spec: TaskSpec, *, rows: int) -> Array:
    length = min(_MAX_TOKENS, spec.context)
    ids = np.arange(rows * length, dtype=np.int64) * max(1, spec.vocab_size // (rows * length))
    return (ids % spec.vocab_size).reshape(rows, length)


def _check_input(folder: Path, name: str, found: Array, example: Array, spec: TaskSpec) -> None:
    """Raise where a stored input is none that the network could take."""
    if found.dtype != example.dtype or found.ndim != example.ndim or not found.size:
        raise broken(folder, GOLDEN, f"has {name} {found.shape} that are no input of the model")
    if found.ndim == 2 and found.shape[1] > spec.context:
        raise broken(folder, GOLDEN, f"has {name} beyond the context of {spec.context}")
    if name == "pixels" and found.shape[1:] != example.shape[1:]:
        raise broken(folder, GOLDEN, f"has {name} {found.shape} of another image size")
    highest = 1 if name == "mask" else spec.vocab_size - 1
    if name != "pixels" and not 0 <= int(found.min()) <= int(found.max()) <= highest:
        raise broken(folder, GOLDEN, f"has {name} outside 0 to {highest}")
