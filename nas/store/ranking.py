"""The order of candidates: which way a metric is better, who is best, who is on the front."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas.records import FINAL_ROLES
from nas.store.rows import CandidateRow, Cell
from nas.tasks.metrics import badness


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistGroup:
    """One architecture that was retrained from fresh seeds, and how its seeds came out."""

    architecture_id: str
    is_reference: bool
    rows: tuple[CandidateRow, ...]

    def values(self, metric: str) -> list[float]:
        """Return a metric of the seeds that completed, such as `val_loss` or `test_loss`."""
        done = (row for row in self.rows if row.state == "complete")
        found = (number_of(row, metric) for row in done)
        return [value for value in found if value is not None]

    def mean(self, metric: str) -> float | None:
        """Return a metric's mean over the seeds, None if no seed has it."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def sd(self, metric: str) -> float | None:
        """Return a metric's standard deviation over the seeds, None for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None


def finals_of(rows: Iterable[CandidateRow], objective: str) -> list[CandidateRow]:
    """Return what was trained from fresh seeds, of each shape by its best candidate's recipe."""
    found = list(rows)
    done = [row for row in found if row.role == "search" and row.state == "complete"]
    recipes = {row.architecture_id: row.recipe for row in reversed(best_first(done, objective))}
    return [
        row
        for row in found
        if row.role in FINAL_ROLES and row.recipe == recipes.get(row.architecture_id, row.recipe)
    ]


def finalist_groups(
    rows: Iterable[CandidateRow], objective: str, *, winner: str | None = None
) -> list[FinalistGroup]:
    """Return what was trained from fresh seeds, by architecture, best mean first.

    Of equal means the stored winner comes first, then what was proposed first, so that all who ask
    name the same.

    Args:
        rows: A study's candidates.
        objective: The column that ranks.
        winner: Architecture id of the stored winner, if there is one.
    """
    groups: dict[str, list[CandidateRow]] = {}
    for row in finals_of(rows, objective):
        groups.setdefault(row.architecture_id, []).append(row)
    found = [
        FinalistGroup(
            architecture_id=architecture_id,
            is_reference=any(row.role == "reference" for row in own),
            rows=tuple(own),
        )
        for architecture_id, own in groups.items()
    ]

    def place(group: FinalistGroup) -> tuple[float, bool, int, str]:
        own, mean = group.architecture_id, badness(group.mean(objective), objective)
        return mean, own != winner, min(row.number for row in group.rows), own

    return sorted(found, key=place)


def first_measured(objectives: Sequence[str]) -> str:
    """Return the first objective that is measured on val, `val_loss` if none is."""
    return next((name for name in objectives if name.startswith("val_")), "val_loss")


def number_of(row: CandidateRow, column: str) -> float | None:
    """Return a row's number in a column, None if it has none."""
    value = row.metrics[column] if column in row.metrics else row.flat().get(column)
    return float(value) if isinstance(value, (int, float)) else None


def best_first(rows: Iterable[CandidateRow], objective: str) -> list[CandidateRow]:
    """Return rows from best to worst; ties stay in the order in which they were proposed."""
    return sorted(rows, key=lambda row: (badness(number_of(row, objective), objective), row.number))


def sorted_by(rows: Iterable[CandidateRow], column: str) -> list[CandidateRow]:
    """Return rows by one column, ascending, or descending after a `-`; empty cells come last."""
    name = column.removeprefix("-")
    cells = [(row.flat().get(name), row) for row in rows]
    filled = [(cell, row) for cell, row in cells if cell is not None]
    filled.sort(key=lambda pair: _sortable(pair[0]), reverse=column.startswith("-"))
    return [row for _, row in filled] + [row for cell, row in cells if cell is None]


def pareto_front(rows: Iterable[CandidateRow], objectives: Sequence[str]) -> list[CandidateRow]:
    """Return the rows that no other row beats in every objective, best in the first one first.

    Rows that lack an objective are left out.
    """
    points = [(_point(row, objectives), row) for row in rows]
    points = [(point, row) for point, row in points if math.inf not in point]
    front: list[tuple[tuple[float, ...], CandidateRow]] = []
    for point, row in sorted(points, key=lambda pair: (pair[0], pair[1].number)):
        # Sorted, so only rows already on the front can beat this one.
        if not any(_dominates(other, point) for other, _ in front):
            front.append((point, row))
    return [row for _, row in front]


def _point(row: CandidateRow, objectives: Sequence[str]) -> tuple[float, ...]:
    return tuple(badness(number_of(row, name), name) for name in objectives)


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _sortable(cell: Cell) -> tuple[int, float, str]:
    """Order numbers (a per-layer field by its mean) before text and times."""
    if isinstance(cell, tuple):
        return (0, sum(cell) / max(len(cell), 1), "")
    if isinstance(cell, (int, float)):
        return (0, float(cell), "")
    return (1, 0.0, str(cell))
