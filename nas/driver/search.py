"""The driver's loop: keep the workers busy, write down what they report, end well.

Only this process writes the database. It imports no torch: building and training is the workers'.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

from nas.driver.choosing import Choosing, nothing_learned
from nas.driver.disk import disk_error, need_of
from nas.driver.events import (
    CandidateEnded,
    CandidateStarted,
    FinalsStarted,
    Listener,
    Note,
    SearchEnded,
    SearchStarted,
)
from nas.driver.finalists import entrants
from nas.driver.jobs import Jobs, Next
from nas.driver.latency import within_limit
from nas.driver.ledger import Ledger
from nas.driver.limits import Limits
from nas.driver.opening import OpenedStudy
from nas.driver.proposing import Proposals
from nas.driver.recovery import Recovery, retry_words
from nas.driver.result import SearchResult
from nas.driver.stopping import Stop
from nas.driver.watch import Watch
from nas.errors import NasError, StoreError
from nas.executors import EVENT_SECONDS, Executor
from nas.records import FINAL_ROLES, Job, Outcome, Progress
from nas.store import ranking
from nas.store.rows import CandidateRow


class Driver:
    """One run of one search.

    Args:
        opened: The study.
        executor: Where jobs run; the caller closes it.
        listener: Told what happens.
        stop: Asked whether the user wants to leave.
    """

    def __init__(
        self, opened: OpenedStudy, executor: Executor, listener: Listener, stop: Stop
    ) -> None:
        self._opened, self._executor = opened, executor
        self._listener, self._stop = listener, stop
        self._config, self._record = opened.config, opened.record
        self.ledger = Ledger(opened)
        proposals = Proposals(opened, self.ledger)
        self._running: dict[str, Next] = {}  # by candidate id
        self._nothing_to_start = False  # until another candidate ends
        self._limits = Limits(opened, self.ledger, slots=lambda: executor.slots)
        self._watch = Watch(executor, self._limits, self._config.budget.max_minutes)
        self._recovery = Recovery(self._record.name, self.ledger.unfinished())
        numerics = self._record.numerics
        assert numerics is not None, "chosen before"
        self._numerics = numerics
        self._jobs = jobs = Jobs(opened, self.ledger)
        self._choosing = Choosing(opened, self.ledger, self._limits, proposals, jobs, listener)
        self._result = SearchResult(opened, self.ledger, self._limits.reference_id)

    def run(self) -> dict[str, Any]:
        """Search until a limit is reached, then hold the finals.

        Returns:
            The result (see `finals.summarise`).

        Raises:
            SearchInterrupted: If the user asked to stop; everything is kept.
            NasError: If no candidate can be trained.
        """
        self._listener(self._started())
        if (known := len(self._opened.results)) and not self.ledger.rows:
            text = f"starts warm: {known} results of study '{self._config.warm_start}'"
            self._listener(Note(text=text))
        if "winner" not in (self._record.summary or {}):
            self.ledger.keep_only(self._result.kept(None))  # which a crash may have cut short
        self._choosing.catch_up()
        self._work(_each(self._choosing.unfinished()))
        reason = self._search()
        summary = self._finals(reason)
        self.ledger.finish("finished", summary)
        self._listener(SearchEnded(summary=summary))
        return summary

    def _search(self) -> str:
        """Search until a limit is reached and return which."""
        reasons: list[str] = []
        self._work(lambda: self._choosing.next(reasons, self._searching()))
        if not self.ledger.complete():
            raise NasError(nothing_learned(self.ledger, self._record.name))
        return reasons[0]

    def _finals(self, reason: str) -> dict[str, Any]:
        config = self._config
        complete = self.ledger.complete()
        complete = within_limit(self._opened, complete) or complete
        found = entrants(complete, self._limits.reference_id, config.finalists.top)
        trainings = len(found) * config.finalists.seeds
        if trainings:
            event = FinalsStarted(architectures=len(found), trainings=trainings, reason=reason)
            self._listener(event)
            self._work(_each(self._choosing.final_jobs(found)))
        fidelity = self._choosing.fidelity()
        summary = self._result.summary(self._executor, fidelity, self._listener)
        summary["elapsed_seconds"] = self._limits.elapsed
        self.ledger.keep_only(self._result.kept(summary))
        winner_and_reference = {summary["winner"], self._limits.reference_id}
        self.ledger.keep_uncooled({one for one in winner_and_reference if one is not None})
        return summary

    def _work(self, source: Callable[[], Next | None]) -> None:
        """Run jobs, as many at once as there are slots, until none runs and none is to come.

        Args:
            source: Asked for the next job; None: there is none until another one ends.
        """
        self._nothing_to_start = False
        while True:
            self._fill(source)
            self._opened.claim.check()
            if self._stop.asked:
                self._leave()
            if not self._running and self._nothing_to_start:
                return
            self._hear()

    def _events(self) -> list[Progress | Outcome]:
        """Return what happened; for as long as nothing does, Optuna's mirror catches up."""
        found, until = self._executor.events(0.0), time.monotonic() + EVENT_SECONDS
        while not found and time.monotonic() < until:
            if not self.ledger.mirror_some():
                return self._executor.events(EVENT_SECONDS)
            found = self._executor.events(0.0)
        return found

    def _fill(self, source: Callable[[], Next | None]) -> None:
        while len(self._running) < self._executor.slots and not self._nothing_to_start:
            following = None if self._stop.asked else source()
            if following is None:
                self._nothing_to_start = True
            else:
                self._start(*following)

    def _start(self, row: CandidateRow, job: Job) -> None:
        self._running[row.candidate_id] = row, job
        self._watch.begin(job)
        self._executor.submit(job)
        self._listener(CandidateStarted.of(row, job))

    def _hear(self) -> None:
        """Take what the executor tells, and end the jobs that are silent for too long."""
        for event in self._events():
            self._take(event)
        for outcome, is_gone in self._watch.ended():
            self._end(outcome)
            if not is_gone:
                raise NasError(
                    f"study '{self._record.name}': candidate {outcome.candidate_id} hangs, and "
                    f"executor '{self._config.executor}' cannot end it; it is stored as timeout, "
                    "and the same command goes on without it; executor 'processes' goes on by "
                    "itself"
                )

    def _take(self, event: Progress | Outcome) -> None:
        if isinstance(event, Outcome):
            self._end(event)
            return
        self._watch.hear(event)
        if not event.is_report:
            return
        if event.checkpoint is not None:
            self.ledger.note_checkpoint(event.candidate_id, event.checkpoint)
        self._listener(event)

    def _end(self, outcome: Outcome) -> None:
        row, job = self._running.pop(outcome.candidate_id)
        self._nothing_to_start = False
        outcome, again = self._recovery.judge(job, self._watch.end(outcome))
        if again is None:
            self._record_end(job, outcome)
        else:
            self._try_again(row, again, outcome)
        self._recovery.check(self._executor.slots)

    def _try_again(self, row: CandidateRow, job: Job, failure: Outcome) -> None:
        """Submit a job again; if the user wants to leave, the next search does."""
        self.ledger.note_failure(failure)
        if self._stop.asked:
            return
        row, job = self._jobs.again(row, job)
        self._listener(Note(text=retry_words(job, failure)))
        self._start(row, job)

    def _record_end(self, job: Job, outcome: Outcome) -> None:
        if outcome.state == "timeout" and outcome.checkpoint is not None:
            # It stopped in time to save what nobody goes on from.
            self.ledger.note_checkpoint(outcome.candidate_id, outcome.checkpoint)
            outcome = replace(outcome, checkpoint=None)
        row = self.ledger.record(outcome)
        if outcome.note:
            self._listener(Note(text=f"#{row.number}: {outcome.note}"))
        if outcome.disk_fault:
            self._leave_full_disk(outcome.disk_fault)
        self._limits.learn(outcome, row, job)
        if row.role == "search":
            self._choosing.look_at_rungs()
        if outcome.model_saved and row.role == "search":
            self.ledger.keep_only(self._result.kept(None))
        if row.role in FINAL_ROLES:
            self.ledger.keep_uncooled({one.architecture_id for one in self.ledger.rows.values()})
        self._listener(self._ended(row, outcome))

    def _ended(self, row: CandidateRow, outcome: Outcome) -> CandidateEnded:
        complete, objective = self.ledger.complete(), self.ledger.objective
        reference = self._reference()
        return CandidateEnded(
            number=row.number,
            role=row.role,
            outcome=outcome,
            value=ranking.number_of(row, objective) if row.state == "complete" else None,
            paused_at=ranking.number_of(row, objective) if row.state == "paused" else None,
            tried=self.ledger.tried(),
            best=ranking.number_of(complete[0], objective) if complete else None,
            reference=ranking.number_of(reference, objective) if reference else None,
            remaining=self._limits.remaining_seconds(len(self._running)),
        )

    def _reference(self) -> CandidateRow | None:
        """Return the reference as the search measured it at the full budget."""
        own = self._limits.reference_id
        rows = [] if own is None else self.ledger.of_shape(own)
        return next((r for r in rows if r.role == "search" and r.state == "complete"), None)

    def _searching(self) -> int:
        """Return how many candidates of the search proper are in training."""
        return sum(row.role == "search" for row, _ in self._running.values())

    def _leave(self) -> None:
        """Let running jobs save themselves, store that, and go."""
        self._listener(Note(text="saving; a second Ctrl-C leaves at once"))
        for candidate_id in self._running:
            self._executor.cancel(candidate_id)
        while self._running:
            self._hear()
        self.ledger.finish("interrupted", {"elapsed_seconds": self._limits.elapsed})
        raise SearchInterrupted

    def _leave_full_disk(self, words: str) -> NoReturn:
        """End the search, since a worker found a disk that takes no more."""
        folder, need = self._opened.folder, need_of(self._opened, self._executor.slots)
        error = disk_error(folder, words, need)
        try:
            self.ledger.finish("interrupted", {"elapsed_seconds": self._limits.elapsed})
        except StoreError as last_write:
            raise error from last_write
        raise error

    def _started(self) -> SearchStarted:
        stop = self._config.stop
        return SearchStarted(
            study=self._record.name,
            folder=self._opened.folder,
            resumed=len(self.ledger.rows),
            slots=self._executor.slots,
            numerics=self._numerics,
            rungs=self._record.rungs,
            budget=self._config.budget,
            max_candidates=stop.candidates,
            max_seconds=None if stop.minutes is None else stop.minutes * 60,
            elapsed=self._limits.elapsed,
            objective=self.ledger.objective,
        )


def _each(jobs: Iterator[Next]) -> Callable[[], Next | None]:
    """Return a source of the jobs that an iterator yields."""
    return lambda: next(jobs, None)


class SearchInterrupted(KeyboardInterrupt):  # an interrupt, not an error
    """The user stopped the search; everything is kept and the same call goes on."""
