"""What the candidates together say: the front, what matters, laws of size, what rungs are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.report.axes import axes_of
from nas.report.importance import FEWEST, shares
from nas.report.material import LOSS, Material, rounded
from nas.store import ranking
from nas.store.hypervolume import front_summary
from nas.strategies import Observation
from nas.strategies.halving import Halving
from nas.tasks.metrics import direction
from nas.wording import front_words, several

# A power law is fitted to so many points at least, of sizes that differ by this factor at least.
LAW_POINTS, LAW_RANGE = 5, 1.5


def pareto_facts(material: Material) -> dict[str, Any]:
    """Return the `objectives`, the places on the `front` of all of them, and its volume."""
    objectives = list(material.study.objectives)
    is_alone = len(objectives) == 1
    if is_alone:
        objectives.append("params" if objectives != ["params"] else "flops_per_token")
    front = ranking.pareto_front(material.complete, objectives)
    volume = None if is_alone else front_summary(material.complete, objectives)
    return {
        "objectives": objectives,
        "directions": [direction(name) for name in objectives],
        "front": [material.place[row.candidate_id] for row in front],
        "volume": None if volume is None else front_words(volume),
    }


def importance_facts(material: Material) -> dict[str, Any]:
    """Return the `axes` on which complete candidates differ, and how much each one matters.

    `axes` have a name and a value for each of `candidates`; `shares` (name, share) are largest
    first, and where there are none `reason` says why.
    """
    rows = list(material.complete)
    axes = axes_of(rows)
    facts: dict[str, Any] = {
        "candidates": [material.place[row.candidate_id] for row in rows],
        "axes": [one.to_plain() for one in axes],
        "shares": [],
        "top": None,
        "reason": None,
    }
    values = [material.value(row) for row in rows]
    known = [value for value in values if value is not None]
    if len(rows) < FEWEST:
        facts["reason"] = (
            f"{several(len(rows), 'complete candidate')}; importance takes {FEWEST} at least, and "
            "is rough below fifty."
        )
    elif not axes:
        facts["reason"] = "The complete candidates differ in no dimension."
    else:
        found, facts["top"] = shares(axes, known, maximised=material.maximised)
        facts["shares"] = [[name, rounded(share, 5)] for name, share in found.items()]
    return facts


def scaling_facts(material: Material) -> dict[str, Any]:
    """Return the loss of complete candidates, and its power law in `size` and in `compute`.

    It is the validation loss, whatever the search ranks by: a law of powers is one of losses.
    """
    metric = LOSS if any(LOSS in row.metrics for row in material.complete) else material.objective
    facts: dict[str, Any] = {"metric": metric}
    for name in ("size", "compute"):
        points = _points(material, name, metric)
        facts[name] = {
            "points": [[at, rounded(x, 6), rounded(y)] for at, x, y in points],
            "law": power_law([x for _, x, _ in points], [y for _, _, y in points]),
        }
    return facts


def _points(material: Material, name: str, metric: str) -> list[tuple[int, float, float]]:
    points = []
    for row in material.complete:
        flops = row.columns.get("train_flops_per_token", 0.0)
        size = row.columns.get("non_embedding_params", row.params or 0.0)
        x = size if name == "size" else flops * row.tokens
        y = material.value(row, metric)
        if y is not None and x > 0:
            points.append((material.place[row.candidate_id], float(x), y))
    return points


def power_law(sizes: Sequence[float], losses: Sequence[float]) -> dict[str, Any]:
    """Return the law `loss = coefficient * size ** exponent`, fitted to the logarithms.

    Returns:
        `exponent`, `coefficient`, `r2` (of the logarithms) and `count`; `reason` alone where
        nothing can be fitted.
    """
    count = len(sizes)
    if count < LAW_POINTS:
        words = several(count, "complete candidate")
        return {"reason": f"{words}; a law is fitted to {LAW_POINTS} at least."}
    if max(sizes) < LAW_RANGE * min(sizes):
        return {"reason": f"All are of nearly one size, within a factor of {LAW_RANGE:g}."}
    if min(losses) <= 0:
        return {"reason": "A law of powers is one of losses above 0."}
    x, y = np.log(sizes), np.log(losses)
    exponent, level = np.polyfit(x, y, 1)
    left, whole = y - (exponent * x + level), y - y.mean()
    spread = float(whole @ whole)
    r2 = 1 - float(left @ left) / spread if spread else 0.0
    return {
        "exponent": rounded(float(exponent), 6),
        "coefficient": rounded(float(np.exp(level)), 6),
        "r2": rounded(r2, 4),
        "count": count,
    }


def fidelity_facts(material: Material) -> list[dict[str, Any]]:
    """Return for each rung below the full budget how it ranked those that came to the end.

    Each has `rung`, `tokens`, Kendall's `tau` and `tau_similar` (within 10 % of size) with `count`
    and `pairs_similar`, and the `points`: place, value there, value at the end.
    """
    rungs = material.record.rungs
    if len(rungs) < 2:
        return []
    halving = Halving(rungs=len(rungs), direction=direction(material.objective))
    rows = sorted(material.search, key=lambda row: row.number)
    history = tuple(_observation(material, row.candidate_id) for row in rows)
    return [
        {
            "rung": one.rung,
            "tokens": rungs[one.rung],
            "tau": rounded(one.tau, 6),
            "count": one.count,
            "tau_similar": rounded(one.tau_similar, 6),
            "pairs_similar": one.pairs_similar,
            "points": _early_and_late(material, one.rung),
        }
        for one in halving.fidelity(history)
    ]


def _at_rungs(material: Material, candidate_id: str) -> dict[int, float]:
    """Return a candidate's objective at each rung where it was measured."""
    found = material.measured.get(candidate_id, ())
    of = {one.evaluation.rung: one.metrics.get(material.objective) for one in found}
    return {rung: value for rung, value in of.items() if value is not None}


def _observation(material: Material, candidate_id: str) -> Observation:
    row = material.rows[material.place[candidate_id]]
    value = material.value(row) if row.state == "complete" else None
    last = len(material.record.rungs) - 1
    early = {rung: v for rung, v in _at_rungs(material, candidate_id).items() if rung < last}
    return Observation(
        number=row.number,
        architecture_id=row.architecture_id,
        parameters=row.parameters,
        state=row.state,
        values=None if value is None else (value,),
        columns=row.columns,
        rungs=tuple((rung, (v,)) for rung, v in sorted(early.items())),
    )


def _early_and_late(material: Material, rung: int) -> list[list[Any]]:
    points = []
    for row in material.complete:
        early: Mapping[int, float] = _at_rungs(material, row.candidate_id)
        if rung in early:
            late = rounded(material.value(row))
            points.append([material.place[row.candidate_id], rounded(early[rung]), late])
    return points
