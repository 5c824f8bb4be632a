"""When a search has to end, and how long what is left would take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from nas.driver.budgets import rungs_of
from nas.driver.finalists import entrants
from nas.driver.ledger import Ledger
from nas.driver.opening import OpenedStudy
from nas.driver.pace import CAUTION, Pace
from nas.families import cost_of
from nas.records import BESIDE_ROLES, Architecture, Job, Outcome
from nas.store.rows import CandidateRow

# The finals get at most this share of a search's minutes.
FINALS_SHARE = 0.5


class Limits:
    """The limits of one search, held against the clock and what its candidates took.

    Args:
        opened: The study.
        ledger: Its candidates; those that earlier runs completed teach their pace.
        slots: Says how many candidates train at once, which may change.
    """

    def __init__(self, opened: OpenedStudy, ledger: Ledger, *, slots: Callable[[], int]) -> None:
        self._opened, self._ledger, self._config = opened, ledger, opened.config
        self._slots = slots
        self._pace = Pace()
        self._begun = time.monotonic()
        self._elapsed_before = self._earlier_seconds()
        for row in ledger.rows.values():
            if row.state in ("complete", "paused") and row.role not in BESIDE_ROLES:
                self._learn(row, row.tokens, _busy_seconds(row.timings))

    @property
    def _at_once(self) -> int:
        return max(1, self._slots())  # a cluster may have lost all of its nodes for a while

    @property
    def elapsed(self) -> float:
        """Seconds of searching, earlier runs included."""
        return self._elapsed_before + time.monotonic() - self._begun

    @property
    def reference_id(self) -> str | None:
        """Architecture id of the reference, None if the space has none."""
        reference = self._opened.space.space.reference
        return None if reference is None else reference.id

    def learn(self, outcome: Outcome, row: CandidateRow, job: Job) -> None:
        """Take in how long a job took, if it reached its rung."""
        if outcome.state in ("complete", "paused"):
            before = 0 if job.checkpoint is None else job.checkpoint.tokens
            self._learn(row, outcome.tokens - before, _busy_seconds(outcome.timings))

    def _learn(self, row: CandidateRow, tokens: int, seconds: float) -> None:
        flops_per_token = row.columns["train_flops_per_token"]
        self._pace.learn(tokens=tokens, flops_per_token=flops_per_token, seconds=seconds)

    def reached(self, count: int) -> str:
        """Return why `count` candidates are enough; empty if they are not or more are enqueued."""
        limit = self._config.stop.candidates
        if limit is None or self._ledger.enqueued():
            return ""
        count -= self._ledger.on_top()
        return f"{limit} candidates" if count >= limit else ""

    def too_late_for(
        self, architecture: Architecture, *, done: int = 0, reserve: bool = True
    ) -> str:
        """Return why a shape cannot be trained to the end in the minutes left; empty if it can.

        Args:
            architecture: What would be trained.
            done: Tokens that it has seen.
            reserve: Whether time is left for the finals.
        """
        minutes = self._config.stop.minutes
        if minutes is None:
            return ""
        left = minutes * 60 - self.elapsed - (self._finals_seconds() if reserve else 0.0)
        recipe, spec = self._opened.recipe, self._opened.spec
        columns = cost_of(architecture, spec, context=recipe.context, batch=recipe.batch)
        needed = self._predict(columns, done)
        if left <= 0 or (needed is not None and needed * CAUTION > left):
            return f"{minutes:g} min"
        return ""

    def remaining_seconds(self, running: int) -> float | None:
        """Return an estimate of the seconds to the end of the search; None if unknown.

        Args:
            running: Candidates in training now, taken as half done.
        """
        limits = []
        if self._config.stop.minutes is not None:
            limits.append(self._config.stop.minutes * 60 - self.elapsed)
        rows = self._ledger.search_rows()
        if self._config.stop.candidates is not None and rows:
            predicted = [self._predict(row.columns) or 0.0 for row in rows[-20:]]
            limit = self._config.stop.candidates + self._ledger.on_top()
            todo = max(0, limit - len(rows)) + len(self._ledger.enqueued()) + running / 2
            mean = sum(predicted) / len(predicted)
            limits.append(todo * mean / self._at_once + self._finals_seconds())
        return max(0.0, min(limits)) if limits else None

    def job_seconds(self, job: Job) -> float | None:
        """Return how long a job should take; None before anything is known of this machine."""
        candidate = job.candidate
        recipe = candidate.recipe
        columns = cost_of(
            candidate.architecture, job.task_spec, context=recipe.context, batch=recipe.batch
        )
        before = 0 if job.checkpoint is None else job.checkpoint.tokens
        return self._pace.predict(
            tokens=job.rungs[job.rung] - before, flops_per_token=columns["train_flops_per_token"]
        )

    def _finals_seconds(self) -> float:
        """Return the time to keep for the finals, as far as can be known now."""
        seeds, minutes = self._config.finalists.seeds, self._config.stop.minutes
        rows = self._ledger.complete() or self._ledger.search_rows()
        found = entrants(rows, self.reference_id, self._config.finalists.top)
        search = self._ledger.search_rows()
        each = [self._predict(search[e.number].columns) or 0.0 for e in found]
        if not each:
            return 0.0
        rounds = math.ceil(len(each) * seeds / self._at_once) * sum(each) / len(each)
        return rounds if minutes is None else min(rounds, FINALS_SHARE * minutes * 60)

    def _predict(self, columns: Mapping[str, float], done: int = 0) -> float | None:
        """Return the seconds that a shape of these closed-form columns takes, if it is known."""
        tokens = rungs_of(self._opened.record, self._opened.recipe, columns)[-1] - done
        flops_per_token = columns["train_flops_per_token"]
        return self._pace.predict(tokens=tokens, flops_per_token=flops_per_token)

    def _earlier_seconds(self) -> float:
        """Return the seconds that earlier runs took: as stored, or what their workers were busy."""
        stored = (self._opened.record.summary or {}).get("elapsed_seconds", 0.0)
        rows = [row for row in self._ledger.rows.values() if row.role not in BESIDE_ROLES]
        busy = sum(_busy_seconds(row.timings) for row in rows)
        return max(float(stored), busy / self._at_once)


def _busy_seconds(timings: Mapping[str, float]) -> float:
    return sum(timings.get(name, 0.0) for name in ("build", "run", "latency", "save"))
