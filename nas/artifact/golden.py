"""Golden logits: a small input and what the network made of it when its folder was written."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from nas.artifact.bounds import MAX_ROWS, MAX_TOKENS
from nas.artifact.folder import broken
from nas.artifact.manifest import GOLDEN, Manifest, file_path
from nas.artifact.weights import Tensors, read_header
from nas.records import TaskSpec

INPUTS = {
    "causal_lm": ("ids",),
    "classify": ("ids", "mask"),
    "classify_image": ("pixels",),
    "seq2seq": ("ids", "mask", "decoder_ids"),
}
_LOGITS = "logits"

# fp32 sums in another order: 2.5e-6 was measured between CPU kernels; GPUs differ more.
_TOLERANCE = {"cpu": 1e-4}
_GPU_TOLERANCE = 1e-3


def golden_inputs(spec: TaskSpec) -> dict[str, Tensor]:
    """Return an input of each kind that the head takes, in the order in which it takes them.

    Ids are spread over the vocabulary; where there is a mask, the second of two texts is shorter.
    """
    if spec.head == "classify_image":
        side = spec.image_size
        ramp = torch.arange(spec.n_channel * side * side, dtype=torch.float32)
        return {"pixels": torch.sin(ramp).view(1, spec.n_channel, side, side)}
    if spec.head == "causal_lm":
        return {"ids": _ids(spec, rows=1)}
    ids = _ids(spec, rows=2)
    mask = torch.ones_like(ids)
    mask[1, (ids.shape[1] + 1) // 2 :] = 0
    inputs = {"ids": ids, "mask": mask}
    if spec.head == "seq2seq":
        inputs["decoder_ids"] = ids.flip(0)[:, : max(1, ids.shape[1] // 2)].contiguous()
    return inputs


def make_golden(network: nn.Module, task_spec: TaskSpec) -> dict[str, Tensor]:
    """Return the golden inputs by name, and the network's `logits` for them."""
    inputs = golden_inputs(task_spec)
    with torch.no_grad():
        return inputs | {_LOGITS: network(*inputs.values())}


def verify_golden(network: nn.Module, folder: Path, manifest: Manifest) -> None:
    """Check that the network reproduces the stored logits.

    Raises:
        ArtifactError: If it does not, or the file is damaged.
    """
    inputs, logits = _read(folder, manifest)
    device = next(network.parameters()).device
    with torch.no_grad():
        found = network(*(value.to(device) for value in inputs.values())).float().cpu()
    if found.shape != logits.shape:
        raise broken(folder, GOLDEN, f"has logits {tuple(logits.shape)} of another model")
    tolerance = _TOLERANCE.get(device.type, _GPU_TOLERANCE)
    if not torch.allclose(found, logits, rtol=tolerance, atol=tolerance):
        worst = (found - logits).abs().max().item()
        raise broken(folder, GOLDEN, f"the logits differ by {worst:.2g}, allowed is {tolerance:g}")


def _ids(spec: TaskSpec, *, rows: int) -> Tensor:
    length = min(MAX_TOKENS, spec.context)
    ids = torch.arange(rows * length) * max(1, spec.vocab_size // (rows * length))
    return (ids % spec.vocab_size).view(rows, length)


def _read(folder: Path, manifest: Manifest) -> tuple[dict[str, Tensor], Tensor]:
    """Return inputs and logits, once the header says that a network could take and make them."""
    path, spec = file_path(folder, manifest, GOLDEN), manifest.task_spec
    found, kinds = read_header(folder, path), INPUTS[spec.head]
    if sorted(found) != sorted([*kinds, _LOGITS]) or found[_LOGITS][0] != "F32":
        names = ", ".join([*kinds, _LOGITS])
        raise broken(folder, GOLDEN, f"has {', '.join(found) or 'nothing'}, expected {names}")
    for name in kinds:
        _check_shape(folder, name, found, spec)
    with safe_open(path, framework="pt") as file:
        inputs = {name: file.get_tensor(name) for name in kinds}
        logits = file.get_tensor(_LOGITS)
    for name, ids in inputs.items():
        highest = 1 if name == "mask" else spec.vocab_size - 1
        if name != "pixels" and not 0 <= int(ids.min()) <= int(ids.max()) <= highest:
            raise broken(folder, GOLDEN, f"has {name} outside 0 to {highest}")
    return inputs, logits


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
