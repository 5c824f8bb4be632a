"""What is tried anew: the reference first, then the user's shapes, then the strategy's."""

from __future__ import annotations

from collections.abc import Sequence

from nas.driver.ledger import Ledger
from nas.driver.opening import OpenedStudy
from nas.driver.warm import evidence_of
from nas.records import Architecture, Recipe
from nas.strategies import Observation, Strategy, make_strategy
from nas.strategies.warm import warmed
from nas.tasks.metrics import direction


class Proposals:
    """What a study tries anew.

    Args:
        opened: The study.
        ledger: Its candidates, and the shapes that the user enqueued.
    """

    def __init__(self, opened: OpenedStudy, ledger: Ledger) -> None:
        self._opened, self._ledger = opened, ledger
        config = opened.config
        directions = [direction(name) for name in opened.record.objectives]
        strategy = make_strategy(
            config.strategy, opened.proposals, seed=config.seed, directions=directions
        )
        self._strategy: Strategy = warmed(strategy, evidence_of(opened), directions)

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
        found = self._strategy.propose(history, number)
        return None if found is None else self._opened.split(found)
