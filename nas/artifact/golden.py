"""Golden logits: a small input and what the network made of it when its folder was written."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.artifact.golden_file import (
    CPU_TOLERANCE,
    GPU_TOLERANCE,
    LOGITS,
    check_logits,
    golden_arrays,
    read_golden,
)
from nas.artifact.manifest import Manifest
from nas.records import TaskSpec


def golden_inputs(spec: TaskSpec) -> dict[str, Tensor]:
    """Return an input of each kind that the head takes (see `golden_file.golden_arrays`)."""
    return {name: torch.from_numpy(array) for name, array in golden_arrays(spec).items()}


def make_golden(network: nn.Module, task_spec: TaskSpec) -> dict[str, Tensor]:
    """Return the golden inputs by name, and the network's `logits` for them."""
    inputs = golden_inputs(task_spec)
    with torch.no_grad():
        return inputs | {LOGITS: network(*inputs.values())}


def verify_golden(network: nn.Module, folder: Path, manifest: Manifest) -> None:
    """Check that the network reproduces the stored logits.

    Raises:
        ArtifactError: If it does not, or the file is damaged.
    """
    inputs, logits = read_golden(folder, manifest)
    device = next(network.parameters()).device
    with torch.no_grad():
        given = (torch.from_numpy(array).to(device) for array in inputs.values())
        found = network(*given).float().cpu().numpy()
    check_logits(folder, found, logits, CPU_TOLERANCE if device.type == "cpu" else GPU_TOLERANCE)
