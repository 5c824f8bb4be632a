"""Run jobs in this process, one at a time, in a thread of their own.

The thread keeps the driver free to write, report and take a Ctrl-C while a job runs.
"""

from __future__ import annotations

import queue
import threading
import traceback

from nas.records import Job, Latency, Numerics, Outcome, Progress, begun, stuck
from nas.worker import STUCK_SECONDS, latency, probe, run_job, where_it_stands


class InlineExecutor:
    """One job at a time in this process.

    Args:
        workers: Taken as 1, whatever is asked for.
        threads: Not used: a job's numerics say its threads.
        device: Not used: a job's numerics say it.
        job_bytes: Not used.
    """

    def __init__(
        self,
        *,
        workers: int | None,  # noqa: ARG002  # as every executor
        threads: int,  # noqa: ARG002
        device: str,  # noqa: ARG002
        job_bytes: int,  # noqa: ARG002
    ) -> None:
        self.slots = 1
        self._events: queue.Queue[Progress | Outcome] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._given_up = False

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
        self._events.put(begun(job.candidate.id))
        try:
            outcome = run_job(job, self._events.put, self._stop.is_set)
        except BaseException as error:  # else nobody would hear of it: there may be no memory left
            outcome = Outcome(
                candidate_id=job.candidate.id,
                state="oom" if isinstance(error, MemoryError) else "failed",
                tokens=0,
                error=f"{type(error).__name__}: {error}",
                traceback=traceback.format_exc(),
            )
        self._events.put(outcome)

    def events(self, timeout: float) -> list[Progress | Outcome]:
        """Return what happened, waiting up to `timeout` seconds for the first."""
        try:
            found = [self._events.get(timeout=timeout)]
        except queue.Empty:
            return []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def cancel(self, candidate_id: str) -> None:
        """Ask the running job to save and stop."""
        self._stop.set()
        if self._thread is None:
            return
        later = threading.Timer(STUCK_SECONDS, self._tell_where, [candidate_id, self._thread])
        later.daemon = True
        later.start()

    def _tell_where(self, candidate_id: str, thread: threading.Thread) -> None:
        if where := where_it_stands(thread):
            self._events.put(stuck(candidate_id, where))

    def kill(self, candidate_id: str) -> bool:  # noqa: ARG002  # there is only one
        """Return False: nothing ends a thread. It is not waited for any more."""
        self._given_up = True
        return False

    def close(self) -> None:
        """Stop the running job, if any, and wait for it."""
        self._stop.set()
        if self._thread is not None and not self._given_up:
            self._thread.join()
