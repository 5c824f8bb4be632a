"""The driver's loop: keep the workers busy, write down what they report, end well.

Only this process writes the database. It imports no torch: building and training is the workers'.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nas.device import check_device_name
from nas.driver.events import (
    CandidateEnded,
    CandidateStarted,
    FinalsStarted,
    Listener,
    Note,
    SearchStarted,
)
from nas.driver.finalists import Entrant, entrants, summarise
from nas.driver.latency import confirm, within_limit
from nas.driver.ledger import CHECKPOINTS, MODELS, Ledger
from nas.driver.limits import Limits
from nas.driver.opening import WORKER_THREADS, OpenedStudy, eval_tokens
from nas.driver.stopping import Stop
from nas.driver.warm import evidence_of
from nas.errors import NasError
from nas.executors import Executor
from nas.records import (
    BESIDE_ROLES,
    FAILED_STATES,
    FINAL_ROLES,
    Architecture,
    Candidate,
    Job,
    Numerics,
    Outcome,
    Progress,
    Recipe,
)
from nas.store import ranking
from nas.store.hypervolume import front_summary
from nas.store.rows import CandidateRow
from nas.strategies import Observation, Strategy, make_strategy
from nas.strategies.halving import Halving
from nas.strategies.warm import warmed
from nas.tasks.metrics import direction

EVENT_SECONDS = 0.25
# So many candidates fail one after another, with none complete, before the search gives up.
HOPELESS = 8

Next = tuple[CandidateRow, Job]


@dataclass(slots=True)
class _Running:
    row: CandidateRow
    job: Job
    tokens: int
    since: float  # monotonic seconds


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
        directions = [direction(name) for name in self._record.objectives]
        strategy = make_strategy(
            self._config.strategy, opened.proposals, seed=self._config.seed, directions=directions
        )
        self._strategy: Strategy = warmed(strategy, evidence_of(opened), directions)
        self._halving = Halving(
            rungs=len(self._record.rungs),
            direction=direction(self._record.objectives[0]),
            eta=self._config.budget.eta,
        )
        self._running: dict[str, _Running] = {}
        self._nothing_to_start = False  # until another candidate ends
        self._first_pause = self._halving.first_pause(self.ledger.history())
        self._limits = Limits(opened, self.ledger, slots=executor.slots)
        self._numerics = self._choose_numerics()
        if self._numerics.device != "cpu" and self._config.workers is None:
            self._limits.slots = 1  # how many fit on a GPU is the user's to say

    def run(self) -> dict[str, Any]:
        """Search until a limit is reached, then hold the finals.

        Returns:
            The result (see `finalists.summarise`).

        Raises:
            SearchInterrupted: If the user asked to stop; everything is kept.
            NasError: If no candidate can be trained.
        """
        self._listener(self._started())
        if (known := len(self._opened.results)) and not self.ledger.rows:
            text = f"starts warm: {known} results of study '{self._config.warm_start}'"
            self._listener(Note(text=text))
        self._work(
            _each(
                self._begin(row.candidate, row.number, row.role) for row in self.ledger.unfinished()
            )
        )
        reason = self._search()
        summary = self._finals(reason)
        self.ledger.finish("finished", summary)
        return summary

    def _search(self) -> str:
        """Search until a limit is reached and return which."""
        reasons: list[str] = []
        self._work(lambda: self._next(reasons))
        if not self.ledger.complete():
            raise NasError(self._nothing_learned())
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
            self._work(_each(self._final_jobs(found)))
        summary = self._summary()
        self.ledger.keep_only(self._kept(summary))
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
            if self._stop.asked:
                self._leave()
            self.ledger.mirror()
            if not self._running:
                return
            for event in self._executor.events(EVENT_SECONDS):
                self._take(event)

    def _fill(self, source: Callable[[], Next | None]) -> None:
        while len(self._running) < self._limits.slots and not self._nothing_to_start:
            following = None if self._stop.asked else source()
            if following is None:
                self._nothing_to_start = True
            else:
                self._start(*following)

    def _start(self, row: CandidateRow, job: Job) -> None:
        done = job.checkpoint.tokens if job.checkpoint else 0
        self._running[row.candidate_id] = _Running(row, job, done, time.monotonic())
        self._executor.submit(job)
        self._listener(CandidateStarted.of(row, job))

    def _take(self, event: Progress | Outcome) -> None:
        if isinstance(event, Outcome):
            self._end(event)
            return
        if event.checkpoint is not None:
            self.ledger.note_checkpoint(event.candidate_id, event.checkpoint)
        self._running[event.candidate_id].tokens = event.tokens
        self._listener(event)

    def _end(self, outcome: Outcome) -> None:
        running = self._running.pop(outcome.candidate_id)
        self._nothing_to_start = False
        row = self.ledger.record(outcome)
        self._limits.learn(outcome, row, running.job)
        if row.role == "search":
            self._look_at_rungs()
        if outcome.model_saved and row.role == "search":
            self.ledger.keep_only(self._kept(None))
        if row.role in FINAL_ROLES:
            self.ledger.keep_uncooled({one.architecture_id for one in self.ledger.rows.values()})
        complete = self.ledger.complete()
        objective = self.ledger.objective
        reference_id = self._limits.reference_id
        reference = next((r for r in complete if r.architecture_id == reference_id), None)
        self._listener(
            CandidateEnded(
                number=running.row.number,
                role=row.role,
                outcome=outcome,
                value=ranking.number_of(row, objective) if row.state == "complete" else None,
                paused_at=ranking.number_of(row, objective) if row.state == "paused" else None,
                tried=self.ledger.tried(),
                best=ranking.number_of(complete[0], objective) if complete else None,
                reference=ranking.number_of(reference, objective) if reference else None,
                remaining=self._limits.remaining_seconds(len(self._running)),
            )
        )

    def _leave(self) -> None:
        """Let running jobs save themselves, store that, and go."""
        self._listener(Note(text="saving; a second Ctrl-C leaves at once"))
        for candidate_id in self._running:
            self._executor.cancel(candidate_id)
        while self._running:
            for event in self._executor.events(EVENT_SECONDS):
                self._take(event)
        self.ledger.finish("interrupted", {"elapsed_seconds": self._limits.elapsed})
        raise SearchInterrupted

    # What to train next

    def _next(self, reasons: list[str]) -> Next | None:
        """Return the search's next job: a promotion, else a proposal, None if there is neither.

        Once a limit keeps proposals out, it is left in `reasons`.
        """
        history = self.ledger.history()
        self._give_up_if_hopeless()
        promoted = self._halving.promoted(history, self.ledger.resumable())
        if promoted is not None and not self._too_late_to_go_on(promoted[0]):
            return self._go_on(*promoted)
        found = None if reasons else self._proposal(history, reasons)
        return found if found is not None else self._best_paused(history, reasons)

    def _proposal(self, history: list[Observation], reasons: list[str]) -> Next | None:
        number = len(history)
        reason = self._limits.reached(number)
        found = None if reason else self._propose(history, number)
        if found is None:
            reason = reason or "every feasible shape has been tried"
        else:
            reason = self._limits.too_late_for(found[0])
        if reason:
            reasons.append(reason)
            if found is not None:
                self._tell_untried(reason)
            return None
        assert found is not None, "else there is a reason"
        goal = self._halving.first_goal(history, number)
        return self._begin(self._candidate(*found, self._config.seed), number, "search", goal)

    def _best_paused(self, history: list[Observation], reasons: list[str]) -> Next | None:
        """Return the best paused candidate for what is left after the last proposal.

        That is minutes, or places in the finals that promotions alone did not fill.
        """
        limit = self._limits.reached(len(history))
        minutes_left = self._config.stop.minutes is not None and limit not in reasons
        running = sum(one.row.role == "search" for one in self._running.values())
        places = self._config.finalists.top - len(self.ledger.complete()) - running
        if not minutes_left and places <= 0:
            return None
        for number in self._halving.best_paused(history, self.ledger.resumable()):
            if not self._too_late_to_go_on(number):
                return self._go_on(number, len(self._record.rungs) - 1)
        return None

    def _too_late_to_go_on(self, number: int) -> bool:
        row = self.ledger.search_rows()[number]
        return bool(self._limits.too_late_for(row.architecture, done=row.tokens))

    def _go_on(self, number: int, goal: int) -> Next:
        row = self.ledger.search_rows()[number]
        return self._begin(row.candidate, row.number, row.role, goal)

    def _look_at_rungs(self) -> None:
        """Delete checkpoints that will not be gone on from; say so if a rung no longer decides."""
        history = self.ledger.history()
        most = self._config.stop.candidates
        self.ledger.drop_checkpoints(self._halving.without_hope(history, most))
        before, self._first_pause = self._first_pause, self._halving.first_pause(history)
        if self._first_pause > before:
            self._listener(Note(text=self._rung_words(history, before)))

    def _rung_words(self, history: list[Observation], rung: int) -> str:
        rungs, found = self._record.rungs, self._halving.fidelity(history)[rung]
        last = self._first_pause == len(rungs) - 1
        now = "no longer paused at all" if last else f"first paused at {rungs[self._first_pause]:,}"
        return (
            f"what is measured at {rungs[rung]:,} tokens does not rank as the end does (Kendall's "
            f"tau {found.tau:.2f} over {found.count} candidates): they are {now}"
        )

    def _final_jobs(self, found: list[Entrant]) -> Iterator[Next]:
        """Yield one seed of every entrant, then the next seed, so that any cut is a fair one."""
        by_id = {row.architecture_id: row for row in reversed(self.ledger.complete())}
        for turn in range(1, self._config.finalists.seeds + 1):
            for entrant in found:
                best = by_id[entrant.architecture_id]
                architecture = best.architecture
                candidate = self._candidate(architecture, best.recipe, self._config.seed + turn)
                role = "reference" if entrant.is_reference else "finalist"
                known = self.ledger.rows.get(candidate.id)
                if known is not None:
                    self.ledger.take_over(candidate.id, role=role, number=entrant.number)
                if known is not None and known.state not in ("running", "interrupted"):
                    continue
                if turn > 1 and self._limits.too_late_for(architecture, reserve=False):
                    self._listener(Note(text=f"time is up: finals end after {turn - 1} seeds"))
                    return
                yield self._begin(candidate, entrant.number, role, len(self._record.rungs) - 1)

    def _give_up_if_hopeless(self) -> None:
        failed = [row for row in self.ledger.search_rows() if row.state in FAILED_STATES]
        if len(failed) >= HOPELESS and not self.ledger.complete():
            raise NasError(self._nothing_learned())

    def _propose(
        self, history: list[Observation], number: int
    ) -> tuple[Architecture, Recipe] | None:
        reference = self._opened.space.space.reference
        if number == 0 and reference is not None:
            return reference, self._opened.recipe
        if own := self.ledger.enqueued():
            return own[0], self._opened.recipe
        found = self._strategy.propose(history, number)
        return None if found is None else self._opened.split(found)

    def _tell_untried(self, reason: str) -> None:
        if left := len(self.ledger.enqueued()):
            self._listener(
                Note(text=f"{reason} are over: enqueued and not tried: {left}; raise --minutes")
            )

    def _candidate(self, architecture: Architecture, recipe: Recipe, seed: int) -> Candidate:
        return Candidate(
            architecture=architecture,
            recipe=recipe,
            seed=seed,
            data_fingerprint=self._record.data_fingerprint,
        )

    def _begin(self, candidate: Candidate, number: int, role: str, goal: int | None = None) -> Next:
        """Store a candidate as running and return its job; an open goal is the rule's."""
        if goal is None:
            goal = self._goal(number, role)
        row = self.ledger.add(candidate, number=number, role=role)
        return row, self._job(row, goal)

    def _goal(self, number: int, role: str) -> int:
        """Return the rung that an unfinished candidate goes on to."""
        if role != "search":
            return len(self._record.rungs) - 1
        history = self.ledger.history()
        return self._halving.next_goal(history, history[number])

    def _job(self, row: CandidateRow, goal: int) -> Job:
        folder, rungs = self._opened.folder, self._record.rungs
        final = row.role != "search"
        return Job(
            study=self._record.name,
            candidate=row.candidate,
            task_spec=self._opened.spec,
            data=str(self._opened.prepared.folder),
            rungs=rungs,
            rung=goal,
            numerics=self._numerics,
            eval_tokens=eval_tokens(rungs),
            splits=("val", "test") if final and self._config.split.test else ("val",),
            checkpoint=self.ledger.checkpoint_of(row),
            checkpoint_dir=str(folder / CHECKPOINTS),
            model_dir=str(folder / MODELS / row.candidate_id),
            objective=ranking.first_measured(self._record.objectives),
            keep_better_than=None if final else self._keep_better_than(),
            latency=self._config.latency and self._config.latency.spec,
            keep_uncooled=final,
        )

    # What is known

    def _keep_better_than(self) -> float | None:
        """Return the objective that a model must beat to be among those kept, if it is measured."""
        objective = self.ledger.objective
        if objective != ranking.first_measured(self._record.objectives):
            return None
        kept = [row for row in self.ledger.complete() if row.model_path]
        if len(kept) < self._config.keep:
            return None
        return kept[self._config.keep - 1].metrics[objective]

    def _kept(self, summary: dict[str, Any] | None) -> set[str]:
        """Return the candidates whose weights are kept: the best, winner and reference.

        Those that the user had trained beside the search stay too.
        """
        rows = self.ledger.rows.values()
        beside = {row.candidate_id for row in rows if row.role in BESIDE_ROLES}
        done = [row for row in rows if row.state == "complete" and row.role not in BESIDE_ROLES]
        best = ranking.best_first(done, self.ledger.objective)
        kept = [row for row in best if row.model_path]
        if summary is None:  # the finals are open: keep what was trained for them
            first = [row for row in kept if row.role == "search"][: self._config.keep]
            finals = [row for row in kept if row.role != "search"]
            return beside | {row.candidate_id for row in (*finals, *first)}
        wanted = beside | {row.candidate_id for row in kept[: self._config.keep]}
        for architecture_id in (summary["winner"], self._limits.reference_id):
            own = [row for row in kept if row.architecture_id == architecture_id]
            wanted.update(row.candidate_id for row in own[:1])
        return wanted

    def _groups(self) -> list[ranking.FinalistGroup]:
        groups: dict[str, list[CandidateRow]] = {}
        for row in ranking.finals_of(self.ledger.rows.values(), self.ledger.objective):
            groups.setdefault(row.architecture_id, []).append(row)
        return [
            ranking.FinalistGroup(
                architecture_id=architecture_id,
                is_reference=architecture_id == self._limits.reference_id,
                rows=tuple(rows),
            )
            for architecture_id, rows in groups.items()
        ]

    def _summary(self) -> dict[str, Any]:
        groups, complete = self._groups(), self.ledger.complete()
        objectives, reference_id = self._record.objectives, self._limits.reference_id
        too_slow, summary = confirm(self._opened, self._executor, groups, complete, self._listener)
        summary |= summarise(groups, complete, objectives[0], reference_id, too_slow=too_slow)
        if len(objectives) > 1:
            summary["pareto"] = front_summary(complete, objectives)
        fidelity = self._halving.fidelity(self.ledger.history())
        return summary | {
            "elapsed_seconds": self._limits.elapsed,
            "fidelity": [
                {"tokens": self._record.rungs[one.rung], **asdict(one)} for one in fidelity
            ],
        }

    def _choose_numerics(self) -> Numerics:
        """Return the study's numerics, chosen at its beginning or for a new kind of device."""
        wanted = check_device_name(self._config.device)
        known = self._record.numerics
        if known is not None and wanted in ("auto", known.device):
            return known
        found = self._propose([], 0)
        assert found is not None, "a bound space has a feasible shape"
        candidate = self._candidate(*found, self._config.seed)
        asked = Numerics(
            device=wanted,
            precision=self._config.recipe.precision,
            attention="auto",
            threads=WORKER_THREADS,
        )
        rungs = self._record.rungs
        numerics = self._executor.probe(
            Job(
                study=self._record.name,
                candidate=candidate,
                task_spec=self._opened.spec,
                data=str(self._opened.prepared.folder),
                rungs=rungs,
                rung=0,
                numerics=asked,
                eval_tokens=eval_tokens(rungs),
            )
        )
        self._opened.store.set_numerics(self._record, numerics)
        return numerics

    def _started(self) -> SearchStarted:
        stop = self._config.stop
        return SearchStarted(
            study=self._record.name,
            folder=self._opened.folder,
            resumed=len(self.ledger.rows),
            slots=self._limits.slots,
            numerics=self._numerics,
            rungs=self._record.rungs,
            max_candidates=stop.candidates,
            max_seconds=None if stop.minutes is None else stop.minutes * 60,
            elapsed=self._limits.elapsed,
            objective=self.ledger.objective,
        )

    def _nothing_learned(self) -> str:
        rows = self.ledger.search_rows()
        failed = [row for row in rows if row.state in FAILED_STATES]
        if not failed:
            return f"study '{self._record.name}': no candidate was trained within its limits"
        last = failed[-1]
        return (
            f"study '{self._record.name}': {len(failed)} of {len(rows)} candidates failed and none "
            f"is complete; the last one {last.state}: {last.error or 'no message'}; "
            f"see: nas trials {self._record.name} --state {last.state}"
        )


def _each(jobs: Iterator[Next]) -> Callable[[], Next | None]:
    """Return a source of the jobs that an iterator yields."""
    return lambda: next(jobs, None)


class SearchInterrupted(KeyboardInterrupt):  # an interrupt, not an error
    """The user stopped the search; everything is kept and the same call goes on."""
