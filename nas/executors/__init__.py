"""The table of executors: where jobs run. Adding one is a module and a row in `EXECUTORS`."""

from __future__ import annotations

from typing import Any, Protocol

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

    Attributes:
        slots: Jobs that can run at once.
    """

    slots: int

    def __init__(self, *, workers: int, threads: int) -> None: ...

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

    def close(self) -> None:
        """End the workers; jobs still running are lost back to their last checkpoint."""
        ...


def make_executor(
    name: str,
    *,
    workers: int | None,
    threads: int,
    device: str = "auto",
    job_bytes: int = 0,
) -> Executor:
    """Start an executor by its name.

    Args:
        name: A row of the table, or `ray://host:port` for a cluster that is there.
        workers: Jobs at once; None: as many as fit.
        threads: CPU threads of each.
        device: The kind of device asked for.
        job_bytes: What one job takes at most, by the cost model.

    Raises:
        NotFoundError: If the name is unknown.
        NasError: If it cannot start.
    """
    row, address = ("ray", name) if is_cluster(name) else (name, None)
    kind = resolve(EXECUTORS, row, what="executor")
    where: dict[str, Any] = {}
    if row == "ray":
        where = {"device": device, "job_bytes": job_bytes, "address": address}
    made: Executor = kind(workers=workers, threads=threads, **where)
    return made
