"""Golden logits: a small input and what the network made of it when its folder was written."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nas.artifact.manifest import GOLDEN, Manifest, broken, file_path
from nas.records import TaskSpec

_MAX_TOKENS = 16

# fp32 sums in another order: 2.5e-6 was measured between CPU kernels; GPUs differ more.
_TOLERANCE = {"cpu": 1e-4}
_GPU_TOLERANCE = 1e-3


def make_golden(network: nn.Module, task_spec: TaskSpec) -> dict[str, Tensor]:
    """Return ids spread over the vocabulary, shape (1, T), and their logits (1, T, V)."""
    length = min(_MAX_TOKENS, task_spec.context)
    ids = torch.arange(length)[None] * max(1, task_spec.vocab_size // length)
    ids = ids % task_spec.vocab_size
    with torch.no_grad():
        return {"ids": ids, "logits": network(ids)}


def verify_golden(network: nn.Module, folder: Path, manifest: Manifest) -> None:
    """Check that the network reproduces the stored logits.

    Raises:
        ArtifactError: If it does not, or the file is damaged.
    """
    ids, logits = _read(folder, manifest)
    device = next(network.parameters()).device
    with torch.no_grad():
        found = network(ids.to(device)).float().cpu()
    if found.shape != logits.shape:
        raise broken(folder, GOLDEN, f"has logits {tuple(logits.shape)} of another model")
    tolerance = _TOLERANCE.get(device.type, _GPU_TOLERANCE)
    if not torch.allclose(found, logits, rtol=tolerance, atol=tolerance):
        worst = (found - logits).abs().max().item()
        raise broken(folder, GOLDEN, f"the logits differ by {worst:.2g}, allowed is {tolerance:g}")


def _read(folder: Path, manifest: Manifest) -> tuple[Tensor, Tensor]:
    path = file_path(folder, manifest, GOLDEN)
    try:
        with safe_open(path, framework="pt") as file:
            ids, logits = file.get_tensor("ids"), file.get_tensor("logits")
    except (SafetensorError, OSError, ValueError) as error:
        raise broken(folder, GOLDEN, f"is not a whole safetensors file ({error})") from error
    spec = manifest.task_spec
    if ids.dtype != torch.int64 or ids.ndim != 2 or not 1 <= ids.numel() <= spec.context:
        raise broken(folder, GOLDEN, f"has ids {tuple(ids.shape)} that are no input of the model")
    if not 0 <= int(ids.min()) <= int(ids.max()) < spec.vocab_size:
        raise broken(folder, GOLDEN, "has ids outside the vocabulary")
    return ids, logits
