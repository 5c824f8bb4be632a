"""Independent start-up draws: depth, then width, then the rest (see `BoundSpace.sample`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

import numpy as np

from nas.records import Architecture
from nas.space import BoundSpace
from nas.strategies import Observation

# Draws of a repeated or infeasible shape before its nearest new feasible neighbour is taken.
REDRAWS = 16


class RandomStrategy:
    """Draw each candidate anew, whatever the results.

    Args:
        space: What to choose from.
        seed: With a candidate's number, the seed of its draw.
        directions: Not used.
    """

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None:  # noqa: ARG002  # as every strategy
        self._space, self._seed = space, seed

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return a fresh draw; None if the space is exhausted."""
        rng = np.random.default_rng([self._seed, number])
        return first_new(self._space, lambda: self._draw(rng), history)

    def _draw(self, rng: np.random.Generator) -> Mapping[str, int]:
        return self._space.space.encode(self._space.sample(rng))


def first_new(
    space: BoundSpace, draw: Callable[[], Mapping[str, int]], history: Sequence[Observation]
) -> Architecture | None:
    """Return the first draw that is feasible and new, else the last one's nearest such neighbour.

    Args:
        space: What to choose from.
        draw: Returns a sampler's encoding of a shape, feasible or not.
        history: What is not new.

    Returns:
        None if every feasible shape is in the history.
    """
    known = set(map(attrgetter("architecture_id"), history))
    for _ in range(REDRAWS):
        parameters = draw()
        found = space.at(parameters)
        if found is not None and found.id not in known:
            return found
    return space.nearest(parameters, exclude=known)
