"""Interval arithmetic, so that a family's own cost formula bounds a whole box of shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

_RISING = frozenset({np.add, np.multiply, np.minimum, np.maximum})
# Falling in the second operand. A difference is taken up to zero by `np.maximum` at once.
_FALLING = frozenset({np.floor_divide, np.true_divide, np.subtract})


class Interval(NDArrayOperatorsMixin):
    """Every number from `low` to `high`, both non-negative; either may be an array.

    Whatever is computed from intervals contains every result of the same computation on numbers
    within them. An operation that is not listed above raises `TypeError` rather than guess.
    """

    def __init__(self, low: Any, high: Any) -> None:
        self.low = low
        self.high = high

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc not in _RISING | _FALLING:
            return NotImplemented
        first, second = operands
        at_low, at_high = lowest(second), highest(second)
        if ufunc in _FALLING:
            at_low, at_high = at_high, at_low
        return Interval(ufunc(lowest(first), at_low), ufunc(highest(first), at_high))


def lowest(value: Any) -> Any:
    """Return the lower end of an interval; a number is its own."""
    return value.low if isinstance(value, Interval) else value


def highest(value: Any) -> Any:
    """Return the upper end of an interval; a number is its own."""
    return value.high if isinstance(value, Interval) else value


def hull(low: Any, high: Any) -> Any:
    """Return what spans `low` to `high`: a number if they are equal, a list for lists."""
    if isinstance(low, list):
        return [hull(a, b) for a, b in zip(low, high, strict=True)]
    same = low is high or (low is not None and np.array_equal(low, high))
    return low if same else Interval(low, high)
