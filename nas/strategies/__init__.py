"""The table of strategies: what to train next. Adding one is a module and a row in `STRATEGIES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nas.plugins import resolve
from nas.records import Architecture
from nas.space import BoundSpace

AUTO = "auto"

STRATEGIES: dict[str, str] = {
    "random": "nas.strategies.random:RandomStrategy",
    "tpe": "nas.strategies.tpe:TPEStrategy",
}
DEFAULT = "tpe"  # what `auto` stands for


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a strategy may know of one earlier candidate.

    Attributes:
        number: Its place in the order of proposals.
        architecture_id: Its architecture.
        parameters: The sampler's encoding of its shape.
        state: One of `records.STATES`.
        values: Its objectives at the full budget; None before that, or if it failed.
    """

    number: int
    architecture_id: str
    parameters: Mapping[str, int]
    state: str
    values: tuple[float, ...] | None


class Strategy(Protocol):
    """Chooses shapes. It keeps nothing between calls that the history does not say.

    So a search that is resumed proposes what an uninterrupted one would have.
    """

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None: ...

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return a feasible shape that the history does not hold; None if there is none left.

        Args:
            history: All candidates so far, in the order of proposal.
            number: The new candidate's number; with the seed it decides every draw.
        """
        ...


def make_strategy(
    name: str, space: BoundSpace, *, seed: int, directions: Sequence[str]
) -> Strategy:
    """Return a strategy by its name.

    Args:
        name: A key of `STRATEGIES`, `auto`, or `package.module:Name` for one of the user's own.
        space: What to choose from.
        seed: The study's seed.
        directions: `minimize` or `maximize` for each objective.

    Raises:
        NotFoundError: If the name is unknown.
    """
    kind = resolve(STRATEGIES, DEFAULT if name == AUTO else name, what="strategy")
    made: Strategy = kind(space, seed=seed, directions=directions)
    return made
