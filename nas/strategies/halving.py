"""Asynchronous successive halving: which paused candidate goes on, which never will.

Candidates are measured at rungs, budgets that grow. Whenever a worker is free, the best of those
that are paused goes on to the next rung, if it is among the first 1 / eta of all that were
measured where it is paused; else something new is tried. No rung waits for another. What was
measured without a cooldown is compared with its like only: a rung ranks by its own measurements.

Whether a rung tells anything about the end is asked of the candidates that came there (see
`fidelity`); one that does not is no longer paused at.

Sources: Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020,
https://arxiv.org/abs/1810.05934; Kendall, "A New Measure of Rank Correlation", Biometrika, 1938.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.records import FAILED_STATES
from nas.strategies import Observation

ETA = 3.0  # of so many measured at a rung, one goes on
# Candidates at first that are trained to the end without a pause: they show how good the full
# budget is and whether lower rungs tell. On recorded trainings whose first quarter tells little
# (tau .31) `auto` comes to the best shapes in 130 s with six, in 311 s with two
# (`replay_training.py`).
FIRST_FULL = 6
# The correlation that a rung must be able to have with the end, at the upper end of its interval.
LEAST_TAU = 0.4
LEAST_PAIRS = 8  # candidates that came to the end, before a rung is judged
SIMILAR = 0.1  # sizes that differ by no more than this share are similar
ONE_SIDED = 1.645  # standard errors to the upper end of a 95 % one-sided interval


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
    """The rule for one study. It keeps nothing: all it says follows from the history.

    Args:
        rungs: How many rungs there are, the full budget's included.
        direction: `minimize` or `maximize`, of the first objective.
        eta: Of so many measured at a rung, one goes on; 1: all do, and nothing is paused.
    """

    def __init__(self, *, rungs: int, direction: str, eta: float = ETA) -> None:
        self._last, self._eta = rungs - 1, eta
        self._sign = -1.0 if direction == "maximize" else 1.0

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
        self, history: Sequence[Observation], resumable: set[int]
    ) -> tuple[int, int] | None:
        """Return which paused candidate goes on and to which rung; None if none has earned it.

        Args:
            history: All candidates.
            resumable: Numbers of those of which a checkpoint is kept.
        """
        first = self.first_pause(history)
        for rung in reversed(range(self._last)):
            ranked = self._ranked(history, rung)
            # A rung that is no longer paused at lets go on whom it holds, best first.
            open_to = len(ranked) if rung < first else int(len(ranked) / self._eta)
            for number in ranked[:open_to]:
                if number in resumable and _paused_at(history[number], rung):
                    return number, max(rung + 1, first)
        return None

    def best_paused(self, history: Sequence[Observation], resumable: set[int]) -> list[int]:
        """Return the paused candidates, those of the highest rung first, there the best first."""
        found: list[int] = []
        for rung in reversed(range(self._last)):
            here = (n for n in self._ranked(history, rung) if _paused_at(history[n], rung))
            found += [number for number in here if number in resumable]
        return found

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
        for rung in range(self._last):
            ranked = self._ranked(history, rung)
            safe = int(len(ranked) * growth / self._eta)
            hopeless |= {n for n in ranked[safe:] if _paused_at(history[n], rung)}
        return hopeless

    def first_pause(self, history: Sequence[Observation]) -> int:
        """Return the lowest rung to pause at: none that was refuted.

        Of more than two rungs the first is passed without a pause: so early only divergence shows.
        """
        lowest = 1 if self._last > 1 else 0
        for rung in range(lowest, self._last if self._eta > 1 else 0):
            if not self._fidelity(history, rung).refuted:
                return rung
        return self._last

    def fidelity(self, history: Sequence[Observation]) -> list[Fidelity]:
        """Return how well each rung below the last ranks, as far as is known."""
        return [self._fidelity(history, rung) for rung in range(self._last)]

    def _fidelity(self, history: Sequence[Observation], rung: int) -> Fidelity:
        both = [
            (value[0] * self._sign, one.values[0] * self._sign, one.columns.get("params", math.nan))
            for one in history
            if one.values is not None
            for at, value in one.rungs
            if at == rung
        ]
        early, late, size = np.array(both, dtype=float).reshape(-1, 3).T
        similar = abs(np.log(size[:, None] / size[None, :])) <= math.log1p(SIMILAR)
        everything = np.ones_like(similar)
        tau, _ = _kendall(early, late, everything)
        tau_similar, pairs = _kendall(early, late, similar)
        return Fidelity(
            rung=rung, tau=tau, count=len(both), tau_similar=tau_similar, pairs_similar=pairs
        )

    def _ranked(self, history: Sequence[Observation], rung: int) -> list[int]:
        """Return who was measured at a rung, best first, then who failed before it."""
        measured = [
            (value[0] * self._sign, number)
            for number, one in enumerate(history)
            for at, value in one.rungs
            if at == rung
        ]
        ranked = [number for _, number in sorted(measured)]
        seen = set(ranked)
        failed = (n for n, one in enumerate(history) if one.state in FAILED_STATES)
        return ranked + [number for number in failed if number not in seen]


def _paused_at(one: Observation, rung: int) -> bool:
    return one.state == "paused" and max((at for at, _ in one.rungs), default=-1) == rung


def _kendall(
    early: NDArray[np.float64], late: NDArray[np.float64], counted: NDArray[np.bool_]
) -> tuple[float | None, int]:
    """Return Kendall's tau-b over the counted pairs, None without one, and how many there are."""
    upper = np.triu(counted, k=1)
    first = np.sign(early[:, None] - early[None, :])[upper]
    second = np.sign(late[:, None] - late[None, :])[upper]
    untied = math.sqrt(np.count_nonzero(first) * np.count_nonzero(second))
    return (float((first * second).sum() / untied) if untied else None), int(upper.sum())
