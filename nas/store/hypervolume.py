"""How much a Pareto front covers, in one number: its hypervolume.

The volume of what lies between a reference point and the front: of all that the front is better
than and the reference point is not. More is better, and only figures against the same reference
point compare.
Source: Zitzler and Thiele, "Multiobjective Optimization Using Evolutionary Algorithms: A
Comparative Case Study", 1998.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.tasks.metrics import badness, direction

# The reference point is the worst that the first candidates have of each objective, and a share
# more, so that the extremes of a front count too.
FIRST = 10
MARGIN = 0.1

Point = Sequence[float]


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Return the volume between a reference point and some points; smaller is better everywhere.

    Exact, by slices along the last objective: between two neighbouring values of it the volume is
    that of the points up to there in one dimension less. Points that are not better than the
    reference in every objective add nothing.
    """
    inside = [tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(inside)[0]
    inside.sort(key=lambda point: point[-1])
    ends = [*(point[-1] for point in inside[1:]), reference[-1]]
    volume = 0.0
    front: list[tuple[float, ...]] = []
    for point, end in zip(inside, ends, strict=True):
        front = _with(front, point[:-1])
        if end > point[-1]:
            volume += (end - point[-1]) * hypervolume(front, reference[:-1])
    return volume


def _with(front: list[tuple[float, ...]], point: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return a front with a point, without what the point makes superfluous."""
    if any(all(x <= y for x, y in zip(other, point, strict=True)) for other in front):
        return front
    kept = [o for o in front if not all(x <= y for x, y in zip(point, o, strict=True))]
    return [*kept, point]


def reference_point(rows: Iterable[CandidateRow], objectives: Sequence[str]) -> list[float] | None:
    """Return what a study's hypervolume is measured from, in the objectives' own numbers.

    The worst value of each among the first ten candidates of the search that have all of them,
    and a tenth beyond it; None if there is none. It stays what it is once these are complete.
    """
    done = [row for row in rows if _point(row, objectives) is not None]
    first = sorted(done, key=lambda row: row.number)[:FIRST]
    if not first:
        return None
    found = []
    for name in objectives:
        worst = max(badness(ranking.number_of(row, name), name) for row in first)
        beyond = worst + MARGIN * abs(worst)
        found.append(-beyond if direction(name) == "maximize" else beyond)
    return found


def front_summary(
    rows: Iterable[CandidateRow],
    objectives: Sequence[str],
    reference: Sequence[float] | None = None,
) -> dict[str, Any] | None:
    """Return the front of complete candidates of the search and its hypervolume, plain.

    Args:
        rows: Candidates; those of the finals, other seeds of the same shapes, are left out.
        objectives: Two columns or more.
        reference: The point that the volume is measured from; None: `reference_point`.

    Returns:
        `candidates` (ids, best in the first objective first), `hypervolume`, `reference_point`
        (by objective); None if no candidate has all objectives.
    """
    done = [row for row in rows if row.state == "complete" and row.role == "search"]
    start = reference_point(done, objectives) if reference is None else reference
    if start is None:
        return None
    front = ranking.pareto_front(done, objectives)
    points = [point for row in front if (point := _point(row, objectives)) is not None]
    bad = [badness(value, name) for value, name in zip(start, objectives, strict=True)]
    return {
        "candidates": [row.candidate_id for row in front],
        "hypervolume": hypervolume(points, bad),
        "reference_point": dict(zip(objectives, start, strict=True)),
    }


def _point(row: CandidateRow, objectives: Sequence[str]) -> tuple[float, ...] | None:
    values = [ranking.number_of(row, name) for name in objectives]
    if any(value is None for value in values):
        return None
    return tuple(badness(value, name) for value, name in zip(values, objectives, strict=True))
