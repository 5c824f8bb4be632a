"""The dimensions on which candidates differ, each as one number a candidate.

Where layers have numbers of their own, a dimension is two axes that hold for any depth: the mean
over the layers, and the last layer's number as a multiple of the first's.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.report.material import rounded
from nas.report.shapes import DEPTH, fields_of
from nas.store.rows import CandidateRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One dimension.

    Attributes:
        name: As a person reads it.
        values: A number for each candidate.
        labels: What the numbers stand for where they are not themselves: text, yes and no.
    """

    name: str
    values: tuple[float, ...]
    labels: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return the axis as facts have it."""
        return {
            "name": self.name,
            "values": [rounded(value, 6) for value in self.values],
            "labels": list(self.labels),
        }


def axes_of(rows: Sequence[CandidateRow]) -> list[Axis]:
    """Return the axes on which some candidates differ, the number of layers first."""
    fields = [fields_of(row) for row in rows]
    names = list(dict.fromkeys(name for one in fields for name in one))
    names.sort(key=lambda name: name != DEPTH)
    axes = [axis for name in names for axis in _axes(name, [one.get(name) for one in fields])]
    axes.append(Axis(name="rate", values=tuple(row.recipe.rate for row in rows)))
    return [axis for axis in axes if len(set(axis.values)) > 1]


def _axes(name: str, values: Sequence[Any]) -> list[Axis]:
    if any(value is None for value in values):
        return []  # not known of all: rows of a family that is not installed
    if any(isinstance(value, tuple) for value in values):
        layers = [value if isinstance(value, tuple) else (value,) for value in values]
        return [
            Axis(name=f"mean {name}", values=tuple(statistics.fmean(each) for each in layers)),
            Axis(
                name=f"{name} last/first",
                values=tuple(each[-1] / each[0] if each[0] else 0.0 for each in layers),
            ),
        ]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return [Axis(name=name, values=tuple(float(value) for value in values))]
    words = [_word(value) for value in values]
    kinds = sorted(set(words))
    return [
        Axis(name=name, values=tuple(float(kinds.index(w)) for w in words), labels=tuple(kinds))
    ]


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
