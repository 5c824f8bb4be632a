"""Classes: the names that stand in the data and their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.data.request import Trained
from nas.errors import DataError

MOST_CLASSES = 10_000
_INTEGER = re.compile(r"-?\d{1,18}")  # longer ones are codes, which Python may refuse to count with


def label_names(found: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Return the classes of a training split, numbers in their order, else by text.

    Raises:
        DataError: If there is one class only, one without a name, or so many that the column is
            no label.
    """
    names = set(found)
    if any(not name.strip() for name in names):
        raise DataError(f"{where}: an example of train has an empty label; leave it out")
    if len(names) < 2:
        raise DataError(f"{where}: every example of train is '{names.pop()}'; two classes or more")
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{where}: {len(names):,} classes, at most {MOST_CLASSES:,}; is it the label's column?"
        )
    return in_order(names)


def labels_for(trained: Trained | None, found: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Return the classes of a model for these labels: a trained one's where it keeps them.

    Raises:
        DataError: As `label_names`, or if the trained model keeps its classes and lacks one.
    """
    if trained is None or trained.head == "new":
        return label_names(found, where=where)
    known, names = trained.spec.labels, set(found)
    if trained.head == "keep":
        if unknown := sorted(names - set(known)):
            raise DataError(
                f"{where}: the label '{unknown[0]}' is none of the model's, {', '.join(known)}; "
                "drop its examples or give the model a new head"
            )
        return known
    return known if names == set(known) else label_names(found, where=where)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names sorted, as numbers if all are integers."""
    known = sorted(names)
    if all(_INTEGER.fullmatch(name) for name in known):
        known.sort(key=int)
    return tuple(known)


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
