"""What is trained next: who goes on, what is tried anew, who takes part in the finals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.driver.budgets import amount_words, amounts_of
from nas.driver.events import Listener, Note
from nas.driver.finalists import Entrant
from nas.driver.jobs import Jobs, Next
from nas.driver.ledger import Ledger
from nas.driver.limits import Limits
from nas.driver.opening import OpenedStudy
from nas.driver.proposing import Proposals
from nas.errors import NasError
from nas.records import FAILED_STATES
from nas.strategies import Observation
from nas.strategies.halving import Fidelity, Halving
from nas.tasks.metrics import direction
from nas.wording import several

# So many candidates fail one after another, with none complete, before the search gives up.
HOPELESS = 8


class Choosing:
    """Chooses the jobs of one search; what comes of them it asks the ledger.

    Args:
        opened: The study.
        ledger: Its candidates.
        limits: When it has to end.
        proposals: What is tried anew.
        jobs: Makes the jobs.
        listener: Told why something is not trained, or not paused.
    """

    def __init__(
        self,
        opened: OpenedStudy,
        ledger: Ledger,
        limits: Limits,
        proposals: Proposals,
        jobs: Jobs,
        listener: Listener,
    ) -> None:
        self._config, self._record = opened.config, opened.record
        self._ledger, self._limits = ledger, limits
        self._proposals, self._jobs, self._listener = proposals, jobs, listener
        self._halving = Halving(
            rungs=len(self._record.rungs),
            direction=direction(self._record.objectives[0]),
            eta=self._config.budget.eta,
        )
        self._first_pause = self._halving.first_pause(ledger.history())

    def catch_up(self) -> None:
        """Do what an earlier run came to no more: look at the rungs after its last result.

        If it had begun another candidate since, it had looked.
        """
        if all(row.role != "search" for row in self._ledger.unfinished()):
            self.look_at_rungs()

    def unfinished(self) -> Iterator[Next]:
        """Yield the jobs of candidates that an earlier run left."""
        for row in self._ledger.unfinished():
            goal = self._goal(row.number, row.role)
            yield self._jobs.begin(row.candidate, row.number, row.role, goal)

    def next(self, reasons: list[str], running: int) -> Next | None:
        """Return the search's next job: a promotion, else a proposal, None if there is neither.

        Args:
            reasons: Once a limit keeps proposals out, it is left here.
            running: Candidates of the search in training now.

        Raises:
            NasError: If so many failed that nothing is to be hoped for.
        """
        self._give_up_if_hopeless()
        history = self._ledger.history()
        promoted = self._halving.promoted(history, self._ledger.resumable())
        if promoted is not None and not self._too_late_to_go_on(promoted[0]):
            return self._go_on(*promoted)
        found = None if reasons else self._proposal(history, reasons)
        return found if found is not None else self._best_paused(history, reasons, running)

    def _proposal(self, history: Sequence[Observation], reasons: list[str]) -> Next | None:
        number = len(history)
        self._ledger.look_for_enqueued()
        reason = self._limits.reached(number)
        found = None if reason else self._proposals.propose(history, number)
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
        candidate = self._jobs.candidate(*found, self._config.seed)
        return self._jobs.begin(candidate, number, "search", goal)

    def _best_paused(
        self, history: Sequence[Observation], reasons: list[str], running: int
    ) -> Next | None:
        """Return the best paused candidate for what is left after the last proposal.

        That is minutes, or places in the finals that promotions alone did not fill.
        """
        limit = self._limits.reached(len(history))
        minutes_left = self._config.stop.minutes is not None and limit not in reasons
        places = self._config.finalists.top - len(self._ledger.complete()) - running
        if not minutes_left and places <= 0:
            return None
        for number in self._halving.best_paused(history, self._ledger.resumable()):
            if not self._too_late_to_go_on(number):
                return self._go_on(number, len(self._record.rungs) - 1)
        return None

    def _too_late_to_go_on(self, number: int) -> bool:
        row = self._ledger.search_rows()[number]
        return bool(self._limits.too_late_for(row.architecture, done=row.tokens))

    def _go_on(self, number: int, goal: int) -> Next:
        row = self._ledger.search_rows()[number]
        return self._jobs.begin(row.candidate, row.number, row.role, goal)

    def _goal(self, number: int, role: str) -> int:
        """Return the rung that an unfinished candidate goes on to."""
        if role != "search":
            return len(self._record.rungs) - 1
        history = self._ledger.history()
        return self._halving.next_goal(history, history[number])

    def look_at_rungs(self) -> None:
        """Delete checkpoints that nobody will go on from; say so if pauses move to another rung."""
        history = self._ledger.history()
        most = self._config.stop.candidates
        self._ledger.drop_checkpoints(self._halving.without_hope(history, most))
        before, self._first_pause = self._first_pause, self._halving.first_pause(history)
        if self._first_pause != before:
            self._listener(Note(text=self._rung_words(history, before, self._first_pause)))

    def _rung_words(self, history: Sequence[Observation], before: int, now: int) -> str:
        """Return why candidates first pause at another rung than before."""
        if now > before:
            rung, says = before, "does not rank as the end does"
        else:
            rung, says = now, "may rank as the end does after all"
        found, unit = self._halving.fidelity(history)[rung], self._config.budget.unit
        at = [amount_words(unit, amount) for amount in amounts_of(self._record)]
        paused = "no longer paused at all" if now == len(at) - 1 else f"first paused at {at[now]}"
        return (
            f"what is measured at {at[rung]} {says} (Kendall's "
            f"tau {found.tau:.2f} over {found.count} candidates): they are {paused}"
        )

    def fidelity(self) -> list[Fidelity]:
        """Return how well each rung below the last ranks, as far as is known."""
        return self._halving.fidelity(self._ledger.history())

    def final_jobs(self, found: list[Entrant]) -> Iterator[Next]:
        """Yield one seed of every entrant, then the next seed, so that any cut is a fair one."""
        by_id = {row.architecture_id: row for row in reversed(self._ledger.complete())}
        for turn in range(1, self._config.finalists.seeds + 1):
            for entrant in found:
                best = by_id[entrant.architecture_id]
                architecture, seed = best.architecture, self._config.seed + turn
                candidate = self._jobs.candidate(architecture, best.recipe, seed)
                role = "reference" if entrant.is_reference else "finalist"
                known = self._ledger.rows.get(candidate.id)
                if known is not None:
                    self._ledger.take_over(candidate.id, role=role, number=entrant.number)
                if known is not None and known.state not in ("running", "interrupted"):
                    continue
                if turn > 1 and self._limits.too_late_for(architecture, reserve=False):
                    self._listener(
                        Note(text=f"time is up: finals end after {several(turn - 1, 'seed')}")
                    )
                    return
                yield self._jobs.begin(candidate, entrant.number, role, len(self._record.rungs) - 1)

    def _give_up_if_hopeless(self) -> None:
        if self._ledger.complete():
            return
        failed = [row for row in self._ledger.search_rows() if row.state in FAILED_STATES]
        if len(failed) >= HOPELESS:
            raise NasError(nothing_learned(self._ledger, self._record.name))

    def _tell_untried(self, reason: str) -> None:
        if left := len(self._ledger.enqueued()):
            self._listener(
                Note(text=f"{reason} are over: enqueued and not tried: {left}; raise --minutes")
            )


def nothing_learned(ledger: Ledger, study: str) -> str:
    """Return why a search has nothing to show."""
    rows = ledger.search_rows()
    failed = [row for row in rows if row.state in FAILED_STATES]
    if not failed:
        return f"study '{study}': no candidate was trained within its limits"
    last = failed[-1]
    return (
        f"study '{study}': {len(failed)} of {len(rows)} candidates failed and none "
        f"is complete; the last one {last.state}: {last.error or 'no message'}; "
        f"see: nas trials {study} --state {last.state}"
    )
