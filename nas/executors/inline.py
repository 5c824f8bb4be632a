"""Run jobs in this process, one at a time, in a thread of their own.

The thread keeps the driver free to write, report and take a Ctrl-C while a job runs.
"""

from __future__ import annotations

import queue
import threading

from nas.records import Job, Latency, Numerics, Outcome, Progress
from nas.worker import latency, probe, run_job


class InlineExecutor:
    """One job at a time in this process.

    Args:
        workers: Taken as 1, whatever is asked for.
        threads: Not used: a job's numerics say its threads.
    """

    def __init__(self, *, workers: int, threads: int) -> None:  # noqa: ARG002  # as every executor
        self.slots = 1
        self._events: queue.Queue[Progress | Outcome] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def probe(self, job: Job) -> Numerics:
        """Choose the numerics by timing steps here."""
        return probe(job)

    def latency(self, job: Job) -> Latency:
        """Measure a shape's latency here."""
        return latency(job)

    def submit(self, job: Job) -> None:
        """Start a job; the one before must have ended."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._thread.start()

    def _run(self, job: Job) -> None:
        self._events.put(run_job(job, self._events.put, self._stop.is_set))

    def events(self, timeout: float) -> list[Progress | Outcome]:
        """Return what happened, waiting up to `timeout` seconds for the first."""
        try:
            found = [self._events.get(timeout=timeout)]
        except queue.Empty:
            return []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def cancel(self, candidate_id: str) -> None:  # noqa: ARG002  # there is only one
        """Ask the running job to save and stop."""
        self._stop.set()

    def close(self) -> None:
        """Stop the running job, if any, and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
