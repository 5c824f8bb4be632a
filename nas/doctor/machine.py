"""Processor, memory and device. torch is imported here, which takes most of the time."""

from __future__ import annotations

import os
import platform

from nas.device import cpu_count, has_fast_bf16, resolve_device
from nas.doctor.finding import BAD, NOTE, OK, Finding
from nas.driver.disk import in_words
from nas.executors.kernel import free_bytes
from nas.executors.placement import WORKER_BYTES, cpu_workers


def torch_works() -> list[Finding]:
    """Import torch, without which nothing is trained."""
    try:
        import torch
    except Exception as error:  # a broken library raises OSError, a broken package anything
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [
            Finding(
                name="torch",
                state=BAD,
                found=f"cannot be imported: {told}",
                advice="pip install --force-reinstall torch; see pytorch.org/get-started",
            )
        ]
    return [Finding(name="torch", state=OK, found=torch.__version__)]


def processor() -> list[Finding]:
    """Return cores, threads and the speed of bf16 on the processor."""
    cores, whole = cpu_count(), os.cpu_count() or 1
    limited = f" of {whole}" if cores < whole else ""
    threads = os.environ.get("OMP_NUM_THREADS")
    told = f"; OMP_NUM_THREADS={threads}" if threads else ""
    kind = platform.processor() or platform.machine()
    found = [
        Finding(
            name="processor",
            state=OK,
            found=f"{cores}{limited} cores ({kind}), a worker each with one thread{told}",
        )
    ]
    fast = has_fast_bf16("cpu")
    words = "has instructions for it" if fast else "has none for it: fp32 is the fastest here"
    return [*found, Finding(name="bf16", state=OK, found=f"the processor {words}")]


def device() -> list[Finding]:
    """Return which device `device: auto` means."""
    import torch

    name = resolve_device("auto")
    if name == "cuda":
        count = torch.cuda.device_count()
        free, total = torch.cuda.mem_get_info(0)
        told = torch.cuda.get_device_name(0)
        memory = f"{in_words(free)} of {in_words(total)} free"
        return [Finding(name="device", state=OK, found=f"cuda, {count} x {told}, {memory}")]
    if name == "mps":
        return [Finding(name="device", state=OK, found="mps, the Apple GPU")]
    if torch.version.cuda is not None and os.path.exists("/dev/nvidiactl"):  # noqa: PTH110
        return [
            Finding(
                name="device",
                state=NOTE,
                found="cpu, though the machine has an NVIDIA driver",
                advice="see nvidia-smi: the driver may be too old for torch's CUDA "
                f"{torch.version.cuda}",
            )
        ]
    return [Finding(name="device", state=OK, found="cpu (torch sees no GPU)")]


def memory() -> list[Finding]:
    """Return the memory that workers can have, and how many of them fit."""
    free = free_bytes()
    if free is None:
        return [Finding(name="memory", state=OK, found="not known on this system")]
    workers, cores = cpu_workers(0, free), cpu_count()
    found = f"{in_words(free)} for new processes"
    if workers < cores:
        return [
            Finding(
                name="memory",
                state=NOTE,
                found=f"{found}: {workers} of {cores} workers at {in_words(WORKER_BYTES)} each",
                advice="close other programs, or give fewer workers (workers: in a study file)",
            )
        ]
    return [Finding(name="memory", state=OK, found=found)]
