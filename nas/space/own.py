"""A shape that the user names, and the space of a stored study to hold it against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.errors import InputError, ShapeError
from nas.families import architecture
from nas.records import Architecture, TaskSpec
from nas.space.bound import BoundSpace
from nas.space.space import SearchSpace


def space_of_study(name: str, config: Mapping[str, Any], spec: TaskSpec) -> BoundSpace:
    """Return the space of a study, under its constraints, from the configuration it stored."""
    space = SearchSpace.from_plain(config["space"], where=f"study '{name}'", name=name)
    recipe = config["recipe"]
    return space.bind(spec, context=recipe["context"], batch=recipe["batch"])


def named_shape(space: SearchSpace, shape: Mapping[str, Any] | Architecture) -> Architecture:
    """Return the architecture of fields that a user gave; what the space fixes may be left out.

    Raises:
        InputError: If they are no shape of the space's family.
    """
    if isinstance(shape, Architecture):
        return shape
    try:
        return architecture(space.family, **{**space.fixed, **shape})
    except ShapeError as error:
        raise InputError(f"{space.where}: {error}") from error


def feasible_shape(space: BoundSpace, shape: Mapping[str, Any] | Architecture) -> Architecture:
    """Return the architecture of fields that a user gave, if the space has it.

    Raises:
        InputError: If it has not, or a constraint rules the shape out.
    """
    wanted = named_shape(space.space, shape)
    if why := space.why_infeasible(wanted):
        raise InputError(f"{space.space.where}: the shape cannot be tried: {why}")
    return wanted
