"""The table of executors: where jobs run. Adding one is a module and a row in `EXECUTORS`."""

from __future__ import annotations

from typing import Protocol

from nas.plugins import resolve
from nas.records import Job, Latency, Numerics, Outcome, Progress

EXECUTORS: dict[str, str] = {
    "inline": "nas.executors.inline:InlineExecutor",
    "processes": "nas.executors.processes:ProcessExecutor",
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


def make_executor(name: str, *, workers: int, threads: int) -> Executor:
    """Start an executor by its name.

    Raises:
        NotFoundError: If the name is unknown.
    """
    kind = resolve(EXECUTORS, name, what="executor")
    made: Executor = kind(workers=workers, threads=threads)
    return made
