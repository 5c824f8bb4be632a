"""The table of strategies: what to train next. Adding one is a module and a row in `STRATEGIES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Protocol

from nas.errors import ConfigError
from nas.plugins import resolve
from nas.records import Architecture
from nas.space import BoundSpace

STRATEGIES: dict[str, str] = {
    "auto": "nas.strategies.auto:AutoStrategy",
    "random": "nas.strategies.random:RandomStrategy",
    "evolution": "nas.strategies.evolution:EvolutionStrategy",
    "tpe": "nas.strategies.tpe:TPEStrategy",
    "gp": "nas.strategies.gp:GPStrategy",
    "nsga2": "nas.strategies.nsga2:NSGA2Strategy",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a strategy may know of one earlier candidate.

    Attributes:
        number: Its place in the order of proposals.
        architecture_id: Its architecture.
        parameters: The sampler's encoding of its shape.
        state: One of `records.STATES`.
        values: Its objectives at the full budget; None before that, or if it failed.
        columns: The closed-form columns of its shape, `params` and others.
        rungs: What was measured before the full budget: rung indices, ascending, and the
            objectives there. Values of different rungs do not compare (see
            `strategies.outcomes`).
    """

    number: int
    architecture_id: str
    parameters: Mapping[str, int]
    state: str
    values: tuple[float, ...] | None
    columns: Mapping[str, float] = field(default_factory=dict)
    rungs: tuple[tuple[int, tuple[float, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What another study measured of a shape of this space.

    It is no candidate here: it may be proposed, and its result is on another scale.

    Attributes:
        architecture: The shape.
        parameters: The sampler's encoding of it.
        columns: Its closed-form columns under this study's task.
        value: The first objective there.
    """

    architecture: Architecture
    parameters: Mapping[str, int]
    columns: Mapping[str, float]
    value: float


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
        name: A key of `STRATEGIES`, or `package.module:Name` for one of the user's own.
        space: What to choose from.
        seed: The study's seed.
        directions: `minimize` or `maximize` for each objective.

    Raises:
        NotFoundError: If the name is unknown, or needs a package that is not installed.
        ConfigError: If a class of the user's own cannot be made so, or has nothing to call.
    """
    kind = resolve(STRATEGIES, name, what="strategy")
    if not callable(kind.propose):
        raise ConfigError(f"strategy '{name}': its 'propose' is no method")
    try:
        signature(kind).bind(space, seed=seed, directions=directions)
    except TypeError as error:
        raise ConfigError(
            f"strategy '{name}': cannot be made as {kind.__name__}(space, seed=..., "
            f"directions=...): {error}"
        ) from error
    made: Strategy = kind(space, seed=seed, directions=directions)
    return made
