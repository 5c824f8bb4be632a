"""Classes: the names that stand in the data and their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError

MOST_CLASSES = 10_000


def label_names(found: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Return the classes of a training split, numbers in their order, else by text.

    Raises:
        DataError: If there is one class only, or so many that the column is no label.
    """
    names = set(found)
    if len(names) < 2:
        raise DataError(f"{where}: every example of train is '{names.pop()}'; two classes or more")
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{where}: {len(names):,} classes, at most {MOST_CLASSES:,}; is it the label's column?"
        )
    if all(name.lstrip("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def label_numbers(
    found: Sequence[str], names: Sequence[str], *, where: str, split: str
) -> NDArray[np.int64]:
    """Return the number of each label.

    Raises:
        DataError: If a label does not occur in train.
    """
    numbers = {name: number for number, name in enumerate(names)}
    unseen = sorted(set(found) - set(numbers))
    if unseen:
        more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
        raise DataError(
            f"{where}: the {split} split has the label '{unseen[0]}'{more}, which train has not; "
            "drop these examples or give train some"
        )
    return np.array([numbers[name] for name in found], dtype=np.int64)
