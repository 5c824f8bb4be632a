"""The finals in figures: a metric over fresh seeds, and what may be said of winner and reference.

What the seeds cannot tell apart is a tie. The driver stores the result and the report reckons it
from the same rows, so that both say the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.store import ranking
from nas.store.rows import CandidateRow

# Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom; beyond, the normal's.
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL_95 = 1.960


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A metric over seeds."""

    mean: float
    sd: float | None  # None for one seed
    seeds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Winner minus other, in one metric over seeds; `tie`: zero lies in the 95 % interval."""

    metric: str
    winner: Sample
    other: Sample
    difference: float
    interval: tuple[float, float] | None  # None where a side has a single seed
    tie: bool


def sample(values: Sequence[float]) -> Sample | None:
    """Return mean and standard deviation of a metric over seeds, None for no value."""
    if not values:
        return None
    return Sample(
        mean=statistics.fmean(values),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        seeds=len(values),
    )


def t_95(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t for whole degrees of freedom, 1 or more."""
    return T_95[freedom - 1] if freedom <= len(T_95) else NORMAL_95


def mean_interval(found: Sample) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean by Student's t, None for one seed."""
    if found.sd is None:
        return None
    reach = t_95(found.seeds - 1) * found.sd / math.sqrt(found.seeds)
    return found.mean - reach, found.mean + reach


def compare(metric: str, winner: Sequence[float], other: Sequence[float]) -> Comparison | None:
    """Compare a metric of two architectures over their seeds, None where one has none.

    The interval is Welch's, for two means of unequal spread; without two seeds on each side
    nothing can be told apart, and it is a tie.
    Source: Welch, "The generalization of 'Student's' problem...", Biometrika, 1947.
    """
    first, second = sample(winner), sample(other)
    if first is None or second is None:
        return None
    difference = first.mean - second.mean
    interval = _welch(first, second)
    return Comparison(
        metric=metric,
        winner=first,
        other=second,
        difference=difference,
        interval=interval,
        tie=interval is None or interval[0] <= 0 <= interval[1],
    )


def _welch(first: Sample, second: Sample) -> tuple[float, float] | None:
    if first.sd is None or second.sd is None:
        return None
    parts = [s.sd**2 / s.seeds for s in (first, second) if s.sd is not None]
    error = math.sqrt(sum(parts))
    difference = first.mean - second.mean
    if error == 0:
        return difference, difference
    freedom = sum(parts) ** 2 / sum(
        part**2 / (s.seeds - 1) for part, s in zip(parts, (first, second), strict=True)
    )
    reach = t_95(int(freedom)) * error
    return difference - reach, difference + reach


def summarise(
    groups: Sequence[ranking.FinalistGroup],
    complete: Sequence[CandidateRow],
    objective: str,
    reference_id: str | None,
    *,
    too_slow: Container[str] = (),
) -> dict[str, Any]:
    """Return the result of a study as plain JSON.

    Args:
        groups: What was trained from fresh seeds, by architecture, best mean first.
        complete: The search's complete candidates, best first.
        objective: The column that ranks.
        reference_id: Architecture id of the reference, if there is one.
        too_slow: Architecture ids that cannot win (see `latency.confirm`).

    Returns:
        `winner` (architecture id), `finalists` (mean and spread of each), `against_reference`
        (comparisons by metric), `no_larger` (the best candidate no larger than the reference).
    """
    ranked = [group for group in groups if group.mean(objective) is not None]
    ranked.sort(key=lambda g: g.architecture_id in too_slow)
    ids = [one.architecture_id for one in ranked or complete]
    winner = next((own for own in ids if own not in too_slow), None)
    reference = next((g for g in ranked if g.architecture_id == reference_id), None)
    comparisons = {}
    if ranked and reference is not None and winner != reference_id:
        for metric in (objective, objective.replace("val_", "test_")):
            found = compare(metric, ranked[0].values(metric), reference.values(metric))
            if found is not None:
                comparisons[metric] = asdict(found)
    return {
        "winner": winner,
        "reference": reference_id,
        "finalists": [_group(group, objective) for group in ranked],
        "against_reference": comparisons,
        "no_larger": _no_larger(complete, reference_id),
    }


def _group(group: ranking.FinalistGroup, objective: str) -> dict[str, Any]:
    metrics = {objective, objective.replace("val_", "test_")}
    found = {metric: sample(group.values(metric)) for metric in sorted(metrics)}
    return {
        "architecture_id": group.architecture_id,
        "number": group.rows[0].number,
        "params": group.rows[0].params,
        "is_reference": group.is_reference,
        "metrics": {name: asdict(value) for name, value in found.items() if value is not None},
    }


def _no_larger(complete: Sequence[CandidateRow], reference_id: str | None) -> str | None:
    """Return the candidate id of the best one with at most the reference's parameters."""
    reference = next((r for r in complete if r.architecture_id == reference_id), None)
    if reference is None or reference.params is None:
        return None
    small = [row for row in complete if row.params is not None and row.params <= reference.params]
    return small[0].candidate_id
