"""How long a job may take: one that hangs is asked to stop, then killed, and is `timeout`.

Without a limit of the user's, `per_candidate.max_minutes`, a job has ten times as long as it
should take by the pace of those before, and must give a sign of life in as long as all of it should
take; ten minutes at least, for either. Before the pace is known only the latter holds. The time
begins when a worker has begun with the job, for which it has ten minutes too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from nas.driver.limits import Limits
from nas.executors import Executor
from nas.records import Job, Outcome, Progress

# Building a model, a single step and saving are silent; a measurement is not (see
# `Training.measure`).
LEAST_SECONDS = 600.0
TIMES_PREDICTED = 10.0
GRACE_SECONDS = 10.0  # between being asked to stop and being killed


@dataclass(slots=True)
class _Watched:
    """A job under way."""

    job: Job
    heard: float
    tokens: int
    begun: float | None = None  # when a worker began with it, if one has
    late: str = ""  # why it was asked to stop
    asked: float = math.inf  # when
    where: str = ""  # where it stands, if it did not stop


class Watch:
    """Watches the jobs of one search.

    Args:
        executor: Where they run.
        limits: Predicts how long they take.
        max_minutes: The user's limit; None: as this module says.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        executor: Executor,
        limits: Limits,
        max_minutes: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor, self._limits, self._max_minutes = executor, limits, max_minutes
        self._clock = clock
        self._jobs: dict[str, _Watched] = {}

    def begin(self, job: Job) -> None:
        """Watch a job that was submitted."""
        now = self._clock()
        tokens = job.checkpoint.tokens if job.checkpoint else 0
        self._jobs[job.candidate.id] = _Watched(job, heard=now, tokens=tokens)

    def hear(self, progress: Progress) -> None:
        """Take in a sign of life."""
        one = self._jobs.get(progress.candidate_id)
        if one is None:
            return
        if progress.where:
            one.where = progress.where
            return
        one.heard = self._clock()
        if one.begun is None:
            one.begun = one.heard
        if progress.is_report:
            one.tokens = progress.tokens

    def end(self, outcome: Outcome) -> Outcome:
        """Forget a job that came back; if it only stopped because it was late, it is `timeout`."""
        one = self._jobs.pop(outcome.candidate_id)
        if one.late and (outcome.state == "interrupted" or outcome.lost):
            return replace(outcome, state="timeout", error=one.late, lost=False)
        return outcome

    def ended(self) -> Iterator[tuple[Outcome, bool]]:
        """Ask jobs that are late to stop and kill those that did not.

        Yields:
            The outcome of each that did not stop, and whether it could be killed: if not, it goes
            on and keeps its place.
        """
        now = self._clock()
        for one in list(self._jobs.values()):
            if not one.late and (why := self._why_late(one, now)):
                one.late, one.asked = why, now
                self._executor.cancel(one.job.candidate.id)
            elif now - one.asked > GRACE_SECONDS:
                yield self._killed(one)

    def _killed(self, one: _Watched) -> tuple[Outcome, bool]:
        outcome = Outcome(
            candidate_id=one.job.candidate.id,
            state="interrupted",
            tokens=one.tokens,
            traceback=one.where,
        )
        return outcome, self._executor.kill(outcome.candidate_id)

    def _why_late(self, one: _Watched, now: float) -> str:
        """Return in words why a job has to end; empty if it need not."""
        silent = now - one.heard
        if one.begun is None:
            return f"no worker began with it in {silent:.0f} s" if silent > LEAST_SECONDS else ""
        taken = now - one.begun
        if self._max_minutes is not None:
            most = f"per_candidate.max_minutes {self._max_minutes:g}"
            return f"not done in {most}" if taken > 60 * self._max_minutes else ""
        predicted = self._limits.job_seconds(one.job)
        if predicted is not None and taken > max(LEAST_SECONDS, TIMES_PREDICTED * predicted):
            return f"not done in {taken:.0f} s, where {predicted:.0f} s were expected"
        if silent > max(LEAST_SECONDS, predicted or 0.0):
            return f"no sign of life for {silent:.0f} s"
        return ""
