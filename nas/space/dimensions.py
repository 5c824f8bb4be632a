"""Dimensions of a space, the parameters that samplers see, and the way from these to fields.

A *slot* is one number to choose: a plain dimension has one, a per-layer one has several. Inside
this package slots hold indexes into the dimension's values; parameters are their outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTH = "n_layer"  # drawn first, since it decides how many slots a per-layer dimension has
WIDTH = "d_model"  # drawn next

ONE = "one"  # the same number in all layers
ENDS = "ends"  # first and last layer are chosen, those between lie on the line
FREE = "free"  # each layer has its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """An integer as a sampler sees it: `low`, `low + step`, ..., `high`."""

    name: str
    low: int
    high: int
    step: int

    @property
    def size(self) -> int:
        """How many values it has."""
        return (self.high - self.low) // self.step + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """One field that the search may choose.

    Attributes:
        name: The field of the family's shape.
        values: What is allowed, ascending.
        step: Distance of the values, which samplers then see as they are; None: samplers see
            indexes into `values`.
        layout: `ONE`, `ENDS` or `FREE`.
    """

    name: str
    values: tuple[int, ...]
    step: int | None
    layout: str = ONE
    _array: NDArray[Any] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_array", np.asarray(self.values))

    def width(self, depth: int) -> int:
        """Return how many slots a model of `depth` layers uses."""
        return {ONE: 1, ENDS: min(2, depth), FREE: depth}[self.layout]

    def parameters(self, depth: int) -> list[Parameter]:
        """Return the parameters of all slots that models of up to `depth` layers have."""
        if self.layout == ONE:
            return [self._parameter(self.name)]
        endings = ("first", "last") if self.layout == ENDS else range(depth)
        return [self._parameter(f"{self.name}_{ending}") for ending in endings]

    def _parameter(self, name: str) -> Parameter:
        if self.step is None:
            return Parameter(name=f"{name}_index", low=0, high=len(self.values) - 1, step=1)
        return Parameter(name=name, low=self.values[0], high=self.values[-1], step=self.step)

    def field(self, indexes: Sequence[Any], depth: int) -> Any:
        """Return the field's value: a number, or a list of one number a layer.

        Args:
            indexes: One index, or array of indexes, for each slot in use.
            depth: Layers of the model.
        """
        chosen = [self._array[index] for index in indexes]
        if self.layout == ONE:
            return chosen[0]
        if self.layout == FREE or depth == 1:
            return chosen
        return [self._between(chosen[0], chosen[1], layer, depth) for layer in range(depth)]

    def _between(self, first: Any, last: Any, layer: int, depth: int) -> Any:
        """Return the allowed value nearest to the line at a layer; of two, the lower.

        All in integers, scaled by 2 (depth - 1), so that every machine rounds alike.
        """
        values = self._array
        middles = (values[:-1] + values[1:]) * (depth - 1)
        on_line = 2 * (first * (depth - 1 - layer) + last * layer)
        return values[np.searchsorted(middles, on_line)]

    def to_plain(self) -> dict[str, Any]:
        """Return the dimension as the YAML file states it."""
        plain: dict[str, Any]
        if self.step is None:
            plain = {"choices": list(self.values)}
        else:
            plain = {"min": self.values[0], "max": self.values[-1], "step": self.step}
        if self.layout != ONE:
            plain["per_layer"] = "free" if self.layout == FREE else True
        return plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The slots of a space in the order in which they are drawn.

    Attributes:
        constants: Every field of the family that is no dimension, with its value.
        depths: The allowed numbers of layers, ascending.
        dimensions: All but `n_layer`: `d_model` first, then as in the file.
    """

    constants: Mapping[str, Any]
    depths: tuple[int, ...]
    dimensions: tuple[Dimension, ...]
    _names: dict[int, tuple[str, ...]] = field(
        init=False, compare=False, repr=False, default_factory=dict
    )

    def slots(self, depth: int) -> tuple[Dimension, ...]:
        """Return the dimension of each slot that a model of `depth` layers uses."""
        return tuple(d for d in self.dimensions for _ in range(d.width(depth)))

    def names(self, depth: int) -> tuple[str, ...]:
        """Return the parameter behind each slot that a model of `depth` layers uses."""
        if depth not in self._names:
            self._names[depth] = tuple(
                p.name for d in self.dimensions for p in d.parameters(depth)[: d.width(depth)]
            )
        return self._names[depth]

    def sizes(self, depth: int) -> list[int]:
        """Return how many values each slot has."""
        return [len(d.values) for d in self.slots(depth)]

    def fields(self, depth: int, indexes: Sequence[Any]) -> dict[str, Any]:
        """Return every field of the family.

        Args:
            depth: Layers of the model.
            indexes: An index, or an array of them, for each slot.
        """
        fields = {**self.constants, DEPTH: depth}
        start = 0
        for dimension in self.dimensions:
            stop = start + dimension.width(depth)
            fields[dimension.name] = dimension.field(indexes[start:stop], depth)
            start = stop
        return fields
