"""Regularised evolution: mutate a winner of a small tournament; the oldest leave the population.

Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search", 2019,
https://arxiv.org/abs/1802.01548.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.records import Architecture
from nas.space import BoundSpace
from nas.space.dimensions import Parameter
from nas.strategies import Observation
from nas.strategies.outcomes import beaten_by, outcomes
from nas.strategies.random import RandomStrategy, first_new

# The paper has 100 and 25; a search here trains tens to hundreds of candidates, not 20,000.
POPULATION = 16
TOURNAMENT = 4


class EvolutionStrategy:
    """Change one dimension of a good candidate among the latest.

    With several objectives a tournament is won by whom the fewest of the population dominate.

    Args:
        space: What to choose from.
        seed: With a candidate's number, the seed of its draw.
        directions: `minimize` or `maximize` for each objective.
    """

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None:
        self._space, self._seed, self._directions = space, seed, tuple(directions)
        self._startup = RandomStrategy(space, seed=seed, directions=directions)

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return a new neighbour of a tournament's winner; None if the space is exhausted."""
        found = outcomes(history, self._directions)
        alive = np.flatnonzero(found.known)[-POPULATION:]
        if len(alive) < POPULATION:
            return self._startup.propose(history, number)
        rng = np.random.default_rng([self._seed, number])
        ranks = beaten_by(found.values[alive])

        def draw() -> Mapping[str, int]:
            entrants = rng.choice(len(alive), size=TOURNAMENT, replace=False)
            winner = history[alive[min(entrants, key=lambda at: ranks[at])]]
            return mutated(self._space.space.parameters, winner.parameters, rng)

        return first_new(self._space, draw, history)


def mutated(
    dimensions: Sequence[Parameter], parameters: Mapping[str, int], rng: np.random.Generator
) -> dict[str, int]:
    """Return parameters of which one was moved up or down, often by one step, seldom by many.

    Args:
        dimensions: Every parameter of the space.
        parameters: A shape's encoding.
        rng: Where the draws come from.

    Returns:
        An encoding that may be of no feasible shape; an equal one if no dimension has a choice.
    """
    movable = [dimension for dimension in dimensions if dimension.size > 1]
    if not movable:
        return dict(parameters)
    chosen = movable[rng.integers(len(movable))]
    index = (parameters[chosen.name] - chosen.low) // chosen.step
    steps = int(rng.geometric(0.5)) * int(rng.choice([-1, 1]))
    moved = min(max(index + steps, 0), chosen.size - 1)
    if moved == index:  # it was at the end already
        moved = index - 1 if index else index + 1
    return {**parameters, chosen.name: chosen.low + chosen.step * moved}
