"""Shapes as numbers that a model of the loss can work with, whatever the family.

The first feature is the logarithm of the weights outside the embeddings: at equal tokens it says
most of the loss (Kaplan et al., "Scaling Laws for Neural Language Models", 2020,
https://arxiv.org/abs/2001.08361). The others are the space's own dimensions, each as the mean
logarithm over the layers and, where layers differ, the trend from the first to the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from nas.space import BoundSpace
from nas.space.dimensions import DEPTH, ENDS, FREE, Dimension
from nas.space.rated import RATE

Floats = NDArray[np.float64]
SIZE = "non_embedding_params"
HEADS, HEAD_DIM = "n_head", "head_dim"

Encoded = Sequence[tuple[Mapping[str, int], Mapping[str, float]]]  # parameters and cost columns


class Features:
    """Features of one space, scaled by some of its shapes.

    Args:
        space: Whose dimensions count.
        scale: Shapes whose mean and spread become 0 and 1; features equal in all are left out.
    """

    def __init__(self, space: BoundSpace, scale: Encoded) -> None:
        self._dimensions = space.space.dimensions
        self._deepest = max(space.space.layout.depths)
        self._head_dim = space.space.layout.constants.get(HEAD_DIM)
        raw = self._raw(scale)
        self._mean, spread = raw.mean(axis=0), raw.std(axis=0)
        self._used = spread > 1e-9
        self._used[0] = True  # the size, even where there is but one
        self._spread = np.where(spread > 1e-9, spread, 1.0)

    @property
    def rate(self) -> int | None:
        """Which feature is the learning rate; None where it is not searched."""
        if not self._dimensions or self._dimensions[-1].name != RATE.name:
            return None
        return int(self._used[:-1].sum()) if self._used[-1] else None

    @property
    def heads(self) -> int | None:
        """Which feature is the number of heads; None where all of them share one width."""
        names = [dimension.name for dimension in self._dimensions]
        if HEADS not in names or (self._head_dim is None and HEAD_DIM not in names):
            return None
        before = self._dimensions[: names.index(HEADS)]
        at = 1 + sum(min(2, len(one.parameters(self._deepest))) for one in before)
        return int(self._used[:at].sum()) if self._used[at] else None

    def __call__(self, shapes: Encoded) -> Floats:
        """Return the features, shape (shape, feature); the first is the size."""
        if not shapes:
            return np.empty((0, int(self._used.sum())))
        scaled = (self._raw(shapes) - self._mean) / self._spread
        return np.asarray(scaled[:, self._used])

    def _raw(self, shapes: Encoded) -> Floats:
        size = np.log([columns[SIZE] for _, columns in shapes])
        depth = np.full(len(shapes), self._deepest)
        for dimension in self._dimensions:
            if dimension.name == DEPTH:
                depth = self._values(dimension, shapes)[:, 0]
        parts = [size[:, None]]
        parts += [self._levels(dimension, shapes, depth) for dimension in self._dimensions]
        return np.hstack(parts)

    def _values(self, dimension: Dimension, shapes: Encoded) -> NDArray[np.int64]:
        slots = dimension.parameters(self._deepest)
        read = itemgetter(*(p.name for p in slots))
        found = np.array([read(parameters) for parameters, _ in shapes]).reshape(len(shapes), -1)
        if dimension.step is None:
            found = np.asarray(dimension.values)[found]
        return found

    def _levels(self, dimension: Dimension, shapes: Encoded, depth: NDArray[np.int64]) -> Floats:
        values = self._values(dimension, shapes).astype(float)
        if dimension.values[0] > 0 and not isinstance(dimension.values[0], bool):
            values = np.log(values)
        if values.shape[1] == 1:
            return values
        slots = np.minimum(depth, 2) if dimension.layout == ENDS else depth
        used = np.arange(values.shape[1]) < slots[:, None]
        place = np.arange(values.shape[1]) - (slots[:, None] - 1) / 2
        mean = (values * used).sum(axis=1) / slots
        trend = (values * used * place).sum(axis=1) / (used * place**2).sum(axis=1).clip(1e-9)
        if dimension.layout == FREE:
            trend *= slots - 1  # from the first to the last layer
        return np.stack([mean, trend], axis=1)


def second_order(features: Floats) -> Floats:
    """Return a constant, the features, their squares and their products, in that order.

    Squares follow the order of the features, so that column `1 + d` is the size's square.
    """
    d = features.shape[1]
    left, right = np.triu_indices(d, k=1)
    one = np.ones((len(features), 1))
    return np.hstack([one, features, features**2, features[:, left] * features[:, right]])
