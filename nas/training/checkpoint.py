"""Checkpoints: weights, optimizer and progress of one candidate in one safetensors file.

A file is written under a temporary name and renamed, so that a reader finds all of it or none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nas.errors import CheckpointError
from nas.records import CheckpointRef
from nas.training.optimizer import Optimizer


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """Where the training of one candidate stands, beside weights and moments."""

    step: int = 0
    seconds: float = 0.0  # spent in training steps
    loss_steps: int = 0  # steps summed up since the last point of the curve
    curve: list[tuple[int, float]] = field(default_factory=list)  # (tokens, mean loss)
    measured: list[dict[str, Any]] = field(default_factory=list)  # evaluations, as plain data
    # Of an early stop: how bad the best validation so far was (smaller is better), how many came
    # since, and whether training has ended.
    best: float | None = None
    stale: int = 0
    stopped: bool = False
    # The checkpoint from before the cooldown, if one was kept: a `CheckpointRef` as plain data,
    # its place being a name in the folder of the checkpoints.
    uncooled: dict[str, Any] | None = None


def save_checkpoint(
    path: Path,
    *,
    candidate_id: str,
    tokens: int,
    state: TrainingState,
    loss_sum: Tensor,
    best: Mapping[str, Tensor],
    network: nn.Module,
    optimizer: Optimizer,
) -> CheckpointRef:
    """Write a checkpoint and return where it lies; `best` are the weights to return to, if any.

    Raises:
        OSError: If the disk is full or the place cannot be written.
    """
    tensors = {"loss_sum": loss_sum.detach()}
    tensors |= {f"weight.{name}": w.detach() for name, w in network.named_parameters()}
    tensors |= {f"moment.{name}": value for name, value in optimizer.moments().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    progress = {name: getattr(state, name) for name in TrainingState.__dataclass_fields__}
    metadata = {"candidate_id": candidate_id, "progress": json.dumps(progress)}
    content = save({k: t.cpu().contiguous() for k, t in tensors.items()}, metadata)
    _write_whole(path, content)
    return CheckpointRef(
        uri=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        tokens=tokens,
    )


def load_checkpoint(
    reference: CheckpointRef,
    *,
    candidate_id: str,
    network: nn.Module,
    optimizer: Optimizer,
) -> tuple[TrainingState, Tensor, dict[str, Tensor]]:
    """Put a checkpoint back into network and optimizer.

    Returns:
        The training state, the sum of the losses since the curve's last point, and the best
        weights so far (none without an early stop).

    Raises:
        CheckpointError: If the file is missing, altered or another candidate's.
    """
    path = Path(reference.uri)
    _check_whole(path, reference)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("candidate_id") != candidate_id:
                raise CheckpointError(f"{path}: is the checkpoint of another candidate")
            state = TrainingState(**json.loads(metadata["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        _restore(tensors, network, optimizer)
        state.curve = [(int(tokens), float(loss)) for tokens, loss in state.curve]
        return state, tensors["loss_sum"], _part_of(tensors, "best.")
    except (CheckpointError, torch.OutOfMemoryError):
        raise  # memory is the device's: the checkpoint is sound
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this version ({error})") from error


def _restore(tensors: dict[str, Tensor], network: nn.Module, optimizer: Optimizer) -> None:
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(tensors[f"weight.{name}"])
    if moments := _part_of(tensors, "moment."):
        optimizer.restore(moments)


def _part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_whole(path: Path, reference: CheckpointRef) -> None:
    try:
        size = path.stat().st_size
        if size == reference.bytes:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == reference.sha256:
                    return
    except OSError as error:
        raise CheckpointError(f"{path}: checkpoint cannot be read: {error.strerror}") from error
    raise CheckpointError(f"{path}: checkpoint is damaged ({size} bytes of {reference.bytes})")


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
