"""A shape that the user names or has, and the space of a stored study to hold it against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.artifact import holds_model, read_architecture
from nas.errors import ArtifactError, InputError, ShapeError
from nas.families import architecture, shape_class
from nas.families.constants import constants_of
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


def with_reference(space: SearchSpace, folder: Path) -> SearchSpace:
    """Return the space with the shape of a user's model as its reference.

    The shape alone counts: it is trained from nothing, as every candidate is, and what no space
    searches (see `families.constants`) is as in every candidate.

    Args:
        space: The space.
        folder: A model folder, or a stock transformers folder of a family that we know.

    Raises:
        ArtifactError: If the folder holds no such model.
        ShapeError: If the space has not its shape.
    """
    if not holds_model(folder):
        raise ArtifactError(f"{folder}: no model folder: it has neither nas.json nor config.json")
    model = read_architecture(folder)
    constants = constants_of(shape_class(model.family))
    kept = {name: value for name, value in model.shape.items() if name not in constants}
    reference = replace(model, shape=kept)
    try:
        space.encode(reference)
    except ShapeError as error:
        raise ShapeError(f"{folder}: {error}") from error
    return replace(space, reference=reference)
