"""What a history says of each rung, kept up to date: who was measured, who waits, what it is worth.

A search asks this again and again of a history that hardly changes. What was counted is kept, so
that a call costs what is new and not what is old: 5,000 candidates are followed as a hundred are.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import is_not

import numpy as np
from numpy.typing import NDArray

from nas.records import FAILED_STATES
from nas.strategies import Observation

SIMILAR = 0.1  # sizes that differ by no more than this share are similar

Place = tuple[float, int]  # how bad a measurement is, and the candidate's number


class Standings:
    """The standings of one study.

    Args:
        rungs: How many rungs lie below the full budget.
        sign: 1 if smaller is better, else -1.
    """

    def __init__(self, *, rungs: int, sign: float) -> None:
        self._sign = sign
        self._count = rungs
        self._begin()

    def _begin(self) -> None:
        self._given: Sequence[Observation] = ()
        self._history: list[Observation] = []
        self._rungs = [Rung() for _ in range(self._count)]

    def follow(self, history: Sequence[Observation]) -> list[Rung]:
        """Take in what is new in a history and return the rungs as they stand."""
        if history is self._given and isinstance(history, tuple):
            return self._rungs
        if len(history) < len(self._history):  # another study's, as in a test
            self._begin()
        changed = compress(count(), map(is_not, self._history, history))
        for at in list(changed):
            self._drop(at, self._history[at])
            self._take(at, history[at])
            self._history[at] = history[at]
        for at in range(len(self._history), len(history)):
            self._take(at, history[at])
            self._history.append(history[at])
        self._given = history
        return self._rungs

    def _take(self, number: int, one: Observation) -> None:
        measured = {rung: value[0] * self._sign for rung, value in one.rungs}
        for at, rung in enumerate(self._rungs):
            if at in measured:
                rung.take((measured[at], number), waits=paused_at(one, at))
                if one.values is not None:
                    size = one.columns.get("params", math.nan)
                    rung.agreement.add(number, measured[at], one.values[0] * self._sign, size)
            elif one.state in FAILED_STATES:
                rung.failed += 1

    def _drop(self, number: int, one: Observation) -> None:
        measured = {rung: value[0] * self._sign for rung, value in one.rungs}
        for at, rung in enumerate(self._rungs):
            if at in measured:
                rung.drop((measured[at], number))
                if one.values is not None:
                    rung.agreement = rung.agreement.without(number)
            elif one.state in FAILED_STATES:
                rung.failed -= 1


def paused_at(one: Observation, rung: int) -> bool:
    """Say whether a candidate waits at a rung, the last one where it was measured."""
    return one.state == "paused" and max((at for at, _ in one.rungs), default=-1) == rung


class Agreement:
    """How measurements at a rung and at the end agree, over pairs that come one by one.

    Attributes:
        count: Candidates measured at both.
        every: All pairs of them.
        similar: The pairs of similar size.
    """

    def __init__(self) -> None:
        self.count = 0
        self.every, self.similar = Pairs(), Pairs()
        self._points = np.empty((4, 16))  # number, early, late, size

    def add(self, number: int, early: float, late: float, size: float) -> None:
        """Take in a candidate, compared with each one before it."""
        numbers, earlies, lates, sizes = self._points[:, : self.count]
        first, second = np.sign(earlies - early), np.sign(lates - late)
        ratio = np.where(numbers < number, sizes / size, size / sizes)
        alike = abs(np.log(ratio)) <= math.log1p(SIMILAR)
        self.every.add(first, second)
        self.similar.add(first[alike], second[alike])
        if self.count == self._points.shape[1]:
            self._points = np.hstack([self._points, np.empty_like(self._points)])
        self._points[:, self.count] = number, early, late, size
        self.count += 1

    def without(self, number: int) -> Agreement:
        """Return it without a candidate, counted anew: nobody leaves the end as a rule."""
        left = Agreement()
        for one, early, late, size in self._points[:, : self.count].T:
            if one != number:
                left.add(int(one), early, late, size)
        return left


@dataclass(slots=True)
class Rung:
    """One rung, with its candidates best first.

    Attributes:
        measured: Everyone who was measured there.
        paused: Those of them who wait there.
        failed: How many failed before they came there; they rank behind all others.
        agreement: What its ranking has to do with that of the end.
    """

    measured: list[Place] = field(default_factory=list)
    paused: list[Place] = field(default_factory=list)
    failed: int = 0
    agreement: Agreement = field(default_factory=Agreement)

    @property
    def ranked(self) -> int:
        """How many have a rank here."""
        return len(self.measured) + self.failed

    def take(self, place: Place, *, waits: bool) -> None:
        """Take in a measurement."""
        insort(self.measured, place)
        if waits:
            insort(self.paused, place)

    def drop(self, place: Place) -> None:
        """Forget a measurement."""
        for places in (self.measured, self.paused):
            at = bisect_left(places, place)
            if at < len(places) and places[at] == place:
                del places[at]

    def rank(self, place: Place) -> int:
        """Return how many are better."""
        return bisect_left(self.measured, place)

    def paused_from(self, rank: int) -> set[int]:
        """Return the numbers of those who wait and are not among the first `rank`."""
        if rank >= len(self.measured):
            return set()
        first = bisect_left(self.paused, self.measured[rank])
        return {number for _, number in self.paused[first:]}


@dataclass(slots=True)
class Pairs:
    """Counts over pairs of candidates, which is all that Kendall's tau-b takes.

    Attributes:
        count: Pairs.
        balance: Pairs in the same order at both, less those in opposite order.
        untied_early: Pairs that differ at the rung.
        untied_late: Pairs that differ at the end.
    """

    count: int = 0
    balance: int = 0
    untied_early: int = 0
    untied_late: int = 0

    def add(self, early: NDArray[np.float64], late: NDArray[np.float64]) -> None:
        """Take in pairs by the signs of their differences."""
        self.count += len(early)
        self.balance += int((early * late).sum())
        self.untied_early += int(np.count_nonzero(early))
        self.untied_late += int(np.count_nonzero(late))

    @property
    def tau(self) -> float | None:
        """Kendall's tau-b, None where no pair tells."""
        untied = math.sqrt(self.untied_early * self.untied_late)
        return self.balance / untied if untied else None
