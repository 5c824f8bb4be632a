"""Fractions of the data for training, validation and test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError

SHUFFLE_SEED = 0  # of the split, not of the study: all studies of some data share its test split
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Shares of the data, in this order; they add up to 1 and only `test` may be 0."""

    train: float
    val: float
    test: float

    def __post_init__(self) -> None:
        for name in SPLITS:
            share = getattr(self, name)
            if not (0 < share <= 1 or (name == "test" and share == 0)):
                least = "0 or more" if name == "test" else "more than 0"
                raise DataError(f"split: {name}: got {share}, expected {least} and at most 1")
        total = self.train + self.val + self.test
        if not math.isclose(total, 1, rel_tol=0, abs_tol=1e-6):
            raise DataError(f"split: train, val and test add up to {total:g}, expected 1")

    def rows(self, count: int) -> dict[str, NDArray[np.int64]]:
        """Return each split's rows of `count` examples, shuffled once and for all."""
        order = np.random.default_rng(SHUFFLE_SEED).permutation(count)
        return {name: np.sort(order[where]) for name, where in self.cut(count).items()}

    def of_train(self, name: str) -> float:
        """Return a split's share of what is cut for train and it alone."""
        share: float = getattr(self, name)
        return share / (self.train + share)

    def cut(self, length: int) -> dict[str, slice]:
        """Return each split's range of a stream of `length` tokens, without gap or overlap."""
        train_end = int(length * self.train)
        test_start = length - int(length * self.test)
        return {
            "train": slice(0, train_end),
            "val": slice(train_end, test_start),
            "test": slice(test_start, length),
        }
