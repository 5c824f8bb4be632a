"""A warm start: what another study measured comes before the first proposals.

A strategy that has `learn(evidence)`, such as `auto`, weighs the evidence itself. For any other
the other study's best shape is proposed first, and up to three more as long as that pays: another
one follows only if one of them has beaten some other candidate and leads. The results themselves
are not shown to it, since those of another data set or budget are on another scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from nas.records import Architecture
from nas.strategies import Evidence, Observation, Strategy
from nas.strategies.outcomes import outcomes

BEST = 4  # shapes of the other study that are proposed at most


@runtime_checkable
class Learner(Protocol):
    """A strategy that weighs evidence itself."""

    def learn(self, evidence: Sequence[Evidence]) -> None:
        """Take in what another study measured of shapes of this space."""
        ...


def warmed(strategy: Strategy, evidence: Sequence[Evidence], directions: Sequence[str]) -> Strategy:
    """Return a strategy that begins with evidence; the same one if there is none."""
    if not evidence:
        return strategy
    if isinstance(strategy, Learner):
        strategy.learn(evidence)
        return strategy
    return _BestFirst(strategy, evidence, directions)


class _BestFirst:
    """The other study's best shapes as long as it pays, then another strategy's proposals."""

    def __init__(
        self, strategy: Strategy, evidence: Sequence[Evidence], directions: Sequence[str]
    ) -> None:
        self._strategy, self._directions = strategy, tuple(directions)
        sign = -1.0 if directions[0] == "maximize" else 1.0
        best = sorted(evidence, key=lambda one: (sign * one.value, one.architecture.id))
        self._best = {one.architecture.id: one.architecture for one in best[:BEST]}

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return the next of the best shapes, or what the strategy itself proposes."""
        tried = {seen.architecture_id for seen in history}
        left = [shape for own, shape in self._best.items() if own not in tried]
        if left and self._pays(history):
            return left[0]
        return self._strategy.propose(history, number)

    def _pays(self, history: Sequence[Observation]) -> bool:
        """Say whether one of these shapes leads before some other one, or none has a result yet."""
        values = outcomes(history, self._directions).values
        values = values[:, 0] if len(history) else np.empty(0)
        seeded = np.array([seen.architecture_id in self._best for seen in history], dtype=bool)
        known = ~np.isnan(values)
        if not (known & seeded).any():
            return True
        if not (known & ~seeded).any():
            return int(known.sum()) < 2  # something else to compare with comes third at the latest
        return bool(np.nanmin(values[seeded]) <= np.nanmin(values))
