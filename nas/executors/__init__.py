"""The table of executors: where jobs run. Adding one is a module and a row in `EXECUTORS`."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from nas.plugins import is_cluster, resolve
from nas.records import Job, Latency, Numerics, Outcome, Progress

EXECUTORS: dict[str, str] = {
    "inline": "nas.executors.inline:InlineExecutor",
    "processes": "nas.executors.processes:ProcessExecutor",
    "ray": "nas.executors.ray:RayExecutor",  # also as ray://host:port
}

EVENT_SECONDS = 0.25  # that whoever drives an executor waits for its events at once


class Executor(Protocol):
    """Runs jobs and tells how they go. It owns its workers; the driver owns everything else.

    All methods are called from one thread.

    A worker that dies under its job is replaced, and the job comes back as an outcome that is
    `lost`: `oom` if memory ran out as far as can be told, else `failed`. Whether it is tried again
    is the driver's to say. Where a job may wait for a worker, the executor tells when it was begun
    with (`records.begun`): its time is counted from then.

    Args:
        workers: Jobs at once; None: as many as fit.
        threads: CPU threads of each.
        device: The kind asked for: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        job_bytes: What a job of the space takes at most, by the cost model.

    """

    def __init__(
        self, *, workers: int | None, threads: int, device: str, job_bytes: int
    ) -> None: ...

    @property
    def slots(self) -> int:
        """Jobs that can run at once; it may change, and is read before each submission."""
        ...

    def probe(self, job: Job) -> Numerics:
        """Choose the numerics where jobs will run (see `worker.probe`)."""
        ...

    def latency(self, job: Job) -> Latency:
        """Measure a shape's latency where jobs run, while none does (see `worker.latency`)."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job; at most `slots` may run at once."""
        ...

    def events(self, timeout: float) -> list[Progress | Outcome]:
        """Return what happened since the last call, waiting up to `timeout` seconds for one."""
        ...

    def cancel(self, candidate_id: str) -> None:
        """Ask a running job to save and stop; its outcome still comes."""
        ...

    def kill(self, candidate_id: str) -> bool:
        """End a running job at once, without saving anything.

        Returns:
            Whether it is ended: then its worker is free and no outcome follows. False: it cannot
            be, and goes on.
        """
        ...

    def close(self) -> None:
        """End the workers; jobs still running are lost back to their last checkpoint."""
        ...


def make_executor(
    name: str, *, workers: int | None, threads: int, device: str, job_bytes: int
) -> Executor:
    """Start an executor by its name (see `Executor` for the other arguments).

    Args:
        name: A row of the table, or `ray://host:port` for a cluster that is there.
        workers: Jobs at once.
        threads: Of each.
        device: The kind asked for.
        job_bytes: What a job takes at most.

    Raises:
        NotFoundError: If the name is unknown.
        DeviceError: If the device is not here.
        NasError: If it cannot start.
    """
    if is_cluster(name):
        kind = partial(resolve(EXECUTORS, "ray", what="executor"), address=name)
    else:
        kind = resolve(EXECUTORS, name, what="executor")
    made: Executor = kind(workers=workers, threads=threads, device=device, job_bytes=job_bytes)
    return made
