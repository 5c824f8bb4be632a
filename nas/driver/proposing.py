"""What is tried anew: the reference first, then the user's shapes, then the strategy's.

Where memory ran out, whatever takes as much by the cost model is none of the space's any more, so
that every strategy learns from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from nas.driver.ledger import Ledger
from nas.driver.opening import OpenedStudy
from nas.driver.warm import evidence_of
from nas.errors import ConfigError
from nas.records import Architecture, Recipe
from nas.space import LinearColumn
from nas.strategies import Observation, Strategy, make_strategy
from nas.strategies.warm import warmed
from nas.tasks.metrics import direction

MEMORY = "train_memory_bytes"


class Proposals:
    """What a study tries anew.

    Args:
        opened: The study.
        ledger: Its candidates, and the shapes that the user enqueued.
    """

    def __init__(self, opened: OpenedStudy, ledger: Ledger) -> None:
        self._opened, self._ledger = opened, ledger
        self._too_much = math.inf  # bytes that a shape must stay below
        self._strategy: Strategy | None = self._made(opened)

    def propose(
        self, history: Sequence[Observation], number: int
    ) -> tuple[Architecture, Recipe] | None:
        """Return the next shape and its recipe; None if every feasible one has been tried.

        Args:
            history: All candidates before it.
            number: Its place in the order of proposals.
        """
        reference = self._opened.space.space.reference
        if number == 0 and reference is not None:
            return reference, self._opened.recipe
        if own := self._ledger.enqueued():
            return own[0], self._opened.recipe
        self._heed_memory(history)
        found = None if self._strategy is None else self._strategy.propose(history, number)
        return None if found is None else self._opened.split(found)

    def _heed_memory(self, history: Sequence[Observation]) -> None:
        """Leave out what takes as much memory as the smallest shape for which there was none."""
        if "oom" not in map(attrgetter("state"), history) and self._too_much == math.inf:
            return  # as a rule, and soon seen
        failed = [seen.columns[MEMORY] for seen in history if seen.state == "oom"]
        least = min(failed, default=math.inf)
        if least != self._too_much:
            self._too_much = least
            self._strategy = self._below(least)

    def _below(self, too_much: float) -> Strategy | None:
        column = LinearColumn(name=MEMORY, constant=0.0, weights={MEMORY: 1.0})
        try:
            space = self._opened.space.under(column, math.nextafter(too_much, 0.0))
        except ConfigError:
            return None  # no shape is that small
        return self._made(replace(self._opened, space=space))

    def _made(self, opened: OpenedStudy) -> Strategy:
        config = opened.config
        directions = [direction(name) for name in opened.record.objectives]
        strategy = make_strategy(
            config.strategy, opened.proposals, seed=config.seed, directions=directions
        )
        evidence = [one for one in evidence_of(opened) if one.columns[MEMORY] < self._too_much]
        return warmed(strategy, evidence, directions)
