"""A space with the base learning rate as one more dimension, as strategies see it.

Its points are shapes with a further field `rate_index`, so that a strategy treats the rate as any
other dimension and may try one shape at several rates. Nothing else ever sees such a point:
`split` gives shape and rate back.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from nas.records import Architecture
from nas.space.bound import BoundSpace
from nas.space.dimensions import Dimension, Layout, Parameter
from nas.space.space import SearchSpace

# A quarter to four times the automatic rate in steps of a square root of 2.
FACTORS = tuple(2 ** (step / 2) for step in range(-4, 5))
AUTOMATIC = FACTORS.index(1)
INDEX = "rate_index"
RATE = Dimension(name="rate", values=tuple(round(1000 * one) for one in FACTORS), step=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _RatedDimensions:
    """What strategies ask of `SearchSpace`, with the rate."""

    shapes: SearchSpace

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        return (*self.shapes.dimensions, RATE)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (*self.shapes.parameters, *RATE.parameters(1))

    @property
    def layout(self) -> Layout:
        return self.shapes.layout

    @property
    def reference(self) -> Architecture | None:
        shape = self.shapes.reference
        return None if shape is None else _point(shape, AUTOMATIC)

    def encode(self, point: Architecture) -> dict[str, int]:
        shape, index = _parts(point)
        return {**self.shapes.encode(shape), INDEX: index}

    def decode(self, params: Mapping[str, int]) -> Architecture:
        return _point(self.shapes.decode(params), params[INDEX])


class RatedSpace(BoundSpace):
    """The points of a space and of the rates around the automatic one.

    Args:
        shapes: The space under its constraints.
        rate: The automatic rate.
    """

    def __init__(self, shapes: BoundSpace, rate: float) -> None:
        self._shapes, self._rate = shapes, rate
        self.space = cast(SearchSpace, _RatedDimensions(shapes=shapes.space))
        self.spec, self.context, self.batch = shapes.spec, shapes.context, shapes.batch
        self.constraints = shapes.constraints

    def point(self, architecture: Architecture, rate: float) -> Architecture:
        """Return the point of a shape at one of the rates."""
        return _point(architecture, AUTOMATIC + round(2 * math.log2(rate / self._rate)))

    def split(self, point: Architecture) -> tuple[Architecture, float]:
        """Return the shape and the rate of a point."""
        shape, index = _parts(point)
        return shape, self._rate * FACTORS[index]

    def why_infeasible(self, architecture: Architecture) -> str:
        """Return in one line why a point is not feasible; empty if it is."""
        return self._shapes.why_infeasible(_parts(architecture)[0])

    def columns(self, architecture: Architecture) -> dict[str, float]:
        """Return the closed-form columns of a point's shape."""
        return self._shapes.columns(_parts(architecture)[0])

    def at(self, params: Mapping[str, int]) -> Architecture | None:
        """Return the feasible point that parameters stand for, None if they stand for none."""
        shape = self._shapes.at({k: v for k, v in params.items() if k != INDEX})
        return None if shape is None else _point(shape, params[INDEX])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a feasible shape, then a rate."""
        return _point(self._shapes.sample(rng), int(rng.integers(len(FACTORS))))

    def nearest(
        self, params: Mapping[str, int], *, exclude: Container[str] = frozenset()
    ) -> Architecture | None:
        """Return the point of the closest shape, and there of the closest rate, not excluded."""
        done: set[str] = set()
        rates = sorted(range(len(FACTORS)), key=lambda index: abs(index - params[INDEX]))
        while (shape := self._shapes.nearest(params, exclude=done)) is not None:
            for index in rates:
                if (point := _point(shape, index)).id not in exclude:
                    return point
            done.add(shape.id)
        return None

    def size(self) -> int:
        """Return how many points the dimensions span, feasible or not."""
        return self._shapes.size() * len(FACTORS)

    def count(self) -> int | None:
        """Return how many points are feasible; None if there are too many to look at all."""
        shapes = self._shapes.count()
        return None if shapes is None else shapes * len(FACTORS)

    def architectures(self) -> Iterator[Architecture]:
        """Yield every feasible point."""
        for shape in self._shapes.architectures():
            for index in range(len(FACTORS)):
                yield _point(shape, index)


def _point(shape: Architecture, index: int) -> Architecture:
    return Architecture(family=shape.family, shape={**shape.shape, INDEX: index})


def _parts(point: Architecture) -> tuple[Architecture, int]:
    fields: dict[str, Any] = dict(point.shape)
    index = fields.pop(INDEX)
    return Architecture(family=point.family, shape=fields), index
