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
        if found is None:
            return None
        self._check(found, history)
        return self._opened.split(found)

    def _check(self, found: Architecture, history: Sequence[Observation]) -> None:
        """Refuse what a strategy of the user's own may propose by mistake."""
        name = f"strategy '{self._opened.config.strategy}'"
        if not isinstance(found, Architecture):
            kind = type(found).__name__
            raise ConfigError(
                f"{name}: proposed {kind}, expected an Architecture, or None at the end"
            )
        if any(seen.architecture_id == found.id for seen in history):
            raise ConfigError(
                f"{name}: proposed {found.id} again, which has been tried; a strategy looks for "
                "architecture_id in the history, and returns None when nothing is left"
            )
        if why := self._opened.proposals.why_infeasible(found):
            raise ConfigError(f"{name}: proposed a shape that the space has not: {why}")

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
