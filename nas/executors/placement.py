"""How many workers a machine takes, and on which GPU each is put.

The cost model says what a job takes; what it does not count is added here. CPU workers and GPU
workers are both at least one: where not even one fits, out-of-memory is what the driver handles.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nas.device import Gpu, cpu_count

# What a worker takes beside its job: torch, imported and used once, is 0.4 GB of memory; a CUDA
# context with the workspaces of cuBLAS and cuDNN is taken as 0.8 GB of a GPU's (not measured).
WORKER_BYTES = 400 * 2**20
CONTEXT_BYTES = 800 * 2**20
USABLE = 0.9  # of what is free: allocators round up, and other processes come and go
# Where drivers of GPUs show themselves: NVIDIA's, that of Windows under Linux, AMD's.
SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
VISIBLE = "CUDA_VISIBLE_DEVICES"


def cpu_workers(job_bytes: int, free_bytes: int | None) -> int:
    """Return how many workers train on the CPU at once: one a core, as many as memory holds.

    Args:
        job_bytes: What a job takes at most.
        free_bytes: What they may take altogether; None: not known.
    """
    if free_bytes is None:
        return cpu_count()
    return min(cpu_count(), _fitting(free_bytes, job_bytes + WORKER_BYTES))


def place(gpus: Sequence[Gpu], *, job_bytes: int, workers: int | None, cpus: int) -> list[int]:
    """Return the number of the GPU of each worker.

    One after another they go to the GPU with the fewest, of those that have room for more; the
    roomiest comes first. More workers than there is room for are the user's word, and spread
    likewise.

    Args:
        gpus: Those that may be used; none: nothing is placed.
        job_bytes: What a job takes at most.
        workers: How many; None: as many as fit, one a GPU at least, but no more than `cpus`.
        cpus: Processor cores, of which a worker keeps one busy.
    """
    room = {gpu.number: _fitting(gpu.free_bytes, job_bytes + CONTEXT_BYTES) for gpu in gpus}
    if not room:
        return []
    placed = dict.fromkeys(room, 0)
    chosen: list[int] = []
    for _ in range(min(sum(room.values()), cpus) if workers is None else workers):
        best = min(room, key=lambda gpu: (placed[gpu] >= room[gpu], placed[gpu], -room[gpu]))
        placed[best] += 1
        chosen.append(best)
    return chosen


def _fitting(free_bytes: int, each: int) -> int:
    return max(1, int(USABLE * free_bytes) // each)


def may_have_gpus(device: str) -> bool:
    """Say whether torch is to be asked for GPUs, which takes seconds.

    Args:
        device: What the study asks for.
    """
    if device != "auto":
        return device.startswith("cuda")
    if os.environ.get(VISIBLE) in ("", "-1"):
        return False
    if sys.platform == "win32":
        return shutil.which("nvidia-smi") is not None
    return any(Path(sign).exists() for sign in SIGNS)


def pinned_to(gpu: int) -> dict[str, str]:
    """Return the variable by which a process sees one GPU alone, as `cuda:0`.

    Args:
        gpu: Its number among those that this process may use: a user's own choice holds.
    """
    own = os.environ.get(VISIBLE)
    return {VISIBLE: own.split(",")[gpu].strip() if own else str(gpu)}
