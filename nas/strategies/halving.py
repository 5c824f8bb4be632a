"""Asynchronous successive halving: which paused candidate goes on, which never will.

Candidates are measured at rungs, budgets that grow. Whenever a worker is free, the best of those
that are paused goes on to the next rung, if it is among the first 1 / eta of all that were
measured where it is paused; else something new is tried. No rung waits for another. What was
measured without a cooldown is compared with its like only: a rung ranks by its own measurements.

Whether a rung tells anything about the end is asked of the candidates that came there (see
`fidelity`); one that does not is no longer paused at. `standings` does the counting.

Sources: Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020,
https://arxiv.org/abs/1810.05934; Kendall, "A New Measure of Rank Correlation", Biometrika, 1938.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

from nas.strategies import Observation
from nas.strategies.standings import Rung, Standings

ETA = 3.0  # of so many measured at a rung, one goes on
# Candidates at first that are trained to the end without a pause: they show how good the full
# budget is and whether lower rungs tell. On recorded trainings whose first quarter tells little
# (tau .31) `auto` comes to the best shapes as soon with six as with two, 210 and 221 +- 32 s
# (`replay_training.py --share .7 --seeds 100`).
FIRST_FULL = 6
# The correlation that a rung must be able to have with the end, at the upper end of its interval.
LEAST_TAU = 0.4
LEAST_PAIRS = 8  # candidates that came to the end, before a rung is judged
# Standard errors to the upper end of a one-sided interval of 80 %. With it a rung of pure noise is
# given up in 58, 75, 87 and 97 % of simulated searches of 12, 16, 24 and 40 candidates, one whose
# tau is .59 in 1, 5, 6 and 7 %; with 95 % noise was kept in most of the short ones.
ONE_SIDED = 0.84


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """How well a rung ranks the candidates that came to the end.

    Attributes:
        rung: Its index.
        tau: Kendall's rank correlation of what was measured there and at the end; None for fewer
            than two candidates.
        count: Candidates.
        tau_similar: The same over pairs of similar size only; None without such a pair.
        pairs_similar: How many those are.
    """

    rung: int
    tau: float | None
    count: int
    tau_similar: float | None
    pairs_similar: int

    @property
    def refuted(self) -> bool:
        """Whether the rung is too unlike the end to decide by it."""
        if self.tau is None or self.count < LEAST_PAIRS:
            return False
        n = self.count
        error = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))  # of tau, were there no relation
        return self.tau + ONE_SIDED * error < LEAST_TAU


class Halving:
    """The rule for one study. All that it says follows from the history.

    What it has counted it keeps, so that the next history costs what is new in it.

    Args:
        rungs: How many rungs there are, the full budget's included.
        direction: `minimize` or `maximize`, of the first objective.
        eta: Of so many measured at a rung, one goes on; 1: all do, and nothing is paused.
    """

    def __init__(self, *, rungs: int, direction: str, eta: float = ETA) -> None:
        self._last, self._eta = rungs - 1, eta
        sign = -1.0 if direction == "maximize" else 1.0
        self._standings = Standings(rungs=self._last, sign=sign)

    def first_goal(self, history: Sequence[Observation], number: int) -> int:
        """Return the rung that a new candidate is trained to.

        Args:
            history: All candidates before it.
            number: Its place in the order of proposals.
        """
        return self._last if number < FIRST_FULL else self.first_pause(history)

    def next_goal(self, history: Sequence[Observation], one: Observation) -> int:
        """Return the rung that a candidate of the history goes on to from where it is."""
        reached = max((rung for rung, _ in one.rungs), default=-1)
        return max(reached + 1, self.first_goal(history, one.number))

    def promoted(
        self, history: Sequence[Observation], resumable: Set[int]
    ) -> tuple[int, int] | None:
        """Return which paused candidate goes on and to which rung; None if none has earned it.

        Args:
            history: All candidates.
            resumable: Numbers of those of which a checkpoint is kept.
        """
        first = self.first_pause(history)
        for at, rung in reversed(list(enumerate(self._standings.follow(history)))):
            # A rung that is no longer paused at lets go on whom it holds, best first.
            open_to = rung.ranked if at < first else int(rung.ranked / self._eta)
            best = next((place for place in rung.paused if place[1] in resumable), None)
            if best is not None and rung.rank(best) < open_to:
                return best[1], max(at + 1, first)
        return None

    def best_paused(self, history: Sequence[Observation], resumable: Set[int]) -> list[int]:
        """Return the paused candidates, those of the highest rung first, there the best first."""
        rungs = reversed(self._standings.follow(history))
        return [number for rung in rungs for _, number in rung.paused if number in resumable]

    def without_hope(self, history: Sequence[Observation], most: int | None) -> set[int]:
        """Return paused candidates that so many candidates would not promote.

        Args:
            history: All candidates.
            most: How many there will be; None, if no limit is known: twice as many as there are.
        """
        if self.first_pause(history) >= self._last:
            return set()  # nothing is paused any more: all may go on
        growth = 2.0 if most is None else max(1.0, most / max(len(history), 1))
        hopeless: set[int] = set()
        for rung in self._standings.follow(history):
            hopeless |= rung.paused_from(int(rung.ranked * growth / self._eta))
        return hopeless

    def first_pause(self, history: Sequence[Observation]) -> int:
        """Return the lowest rung to pause at: none that was refuted.

        Of more than two rungs the first is passed without a pause: so early only divergence shows.
        """
        lowest = 1 if self._last > 1 else 0
        rungs = self._standings.follow(history)
        for at in range(lowest, self._last if self._eta > 1 else 0):
            if not _fidelity(at, rungs[at]).refuted:
                return at
        return self._last

    def fidelity(self, history: Sequence[Observation]) -> list[Fidelity]:
        """Return how well each rung below the last ranks, as far as is known."""
        return [_fidelity(at, rung) for at, rung in enumerate(self._standings.follow(history))]


def _fidelity(at: int, rung: Rung) -> Fidelity:
    found = rung.agreement
    return Fidelity(
        rung=at,
        tau=found.every.tau,
        count=found.count,
        tau_similar=found.similar.tau,
        pairs_similar=found.similar.count,
    )
