"""The facts of each candidate, the columns of the table of them, and their learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nas.records import MICRO_BATCH
from nas.report.clock import busy_seconds
from nas.report.material import LOSS, Material, rounded
from nas.store.rows import CandidateRow
from nas.wording import shape_words, visible

# Points of all curves together, and of one at least and at most: a page of a thousand candidates
# stays under 5 MB, and one curve has as many as it can show.
CURVE_POINTS, FEWEST, MOST = 24_000, 8, 120
ERROR_LETTERS = 300
SIZE = "non_embedding_params"

# Columns that every candidate has beside its metrics, and how their cells are shown.
KINDS = {
    "number": "number",
    "role": "text",
    "state": "text",
    "params": "count",
    "shape": "text",
    "rate": "number",
    "seed": "number",
    "tokens": "count",
    "seconds": "seconds",
    "weights": "text",
    "id": "id",
    "error": "text",
}
TITLES = {"number": "#", "id": "candidate"}  # others by their name, as a filter asks for them


def candidate_facts(material: Material) -> list[dict[str, Any]]:
    """Return the facts of all candidates, best first; what a candidate lacks is left out."""
    return [_candidate(material, row) for row in material.rows]


def _candidate(material: Material, row: CandidateRow) -> dict[str, Any]:
    flops = row.columns.get("train_flops_per_token")
    facts: dict[str, Any] = {
        "id": row.candidate_id,
        "architecture": row.architecture_id,
        "number": row.number if row.number >= 0 else None,  # none of a shape beside the search
        "role": row.role,
        "state": row.state,
        "seed": row.seed,
        "rate": rounded(row.recipe.rate),
        "rung": row.rung,
        "tokens": row.tokens,
        "seconds": rounded(row.seconds, 5),
        "params": row.params,
        "size": rounded(row.columns.get(SIZE, row.params)),
        "flops_per_token": rounded(row.flops_per_token),
        "train_memory_bytes": row.train_memory_bytes,
        "compute": None if flops is None or not row.tokens else rounded(flops * row.tokens),
        "value": rounded(material.value(row)),
        "metrics": {name: rounded(value) for name, value in sorted(row.metrics.items())},
        "shape": shape_words(row.shape),
        "weights": "kept" if row.model_path else None,
        "began": rounded(material.clock.at(row.created_at), 6),
        "ended": rounded(material.clock.at(row.finished_at), 6),
        "busy": rounded(busy_seconds(row.timings), 5),
        "error": visible(" ".join(row.error.split()))[:ERROR_LETTERS] or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def columns(material: Material) -> list[dict[str, str]]:
    """Return the columns of the table, the most telling first; those that say nothing are out.

    Each has a `name`, a `title` and a `kind`: number, count, metric, milliseconds, seconds, text or
    id.
    """
    rows = material.rows
    names = ["number", *_metrics(material), "params", "shape"]
    if len({row.recipe.rate for row in rows}) > 1:
        names.append("rate")
    names += ["state", "role", "tokens", "seconds"]
    if any(row.role != "search" for row in rows):
        names.append("seed")
    names.append("weights")
    if any(row.error for row in rows):
        names.append("error")
    return [_column(name) for name in (*dict.fromkeys(names), "id")]


def _metrics(material: Material) -> list[str]:
    """Return the metrics that were measured: objectives, the same on test, then the others."""
    measured = {name for row in material.rows for name in row.metrics} - {MICRO_BATCH}
    objectives = [name for name in material.study.objectives if name != "params"]
    tests = [name.replace("val_", "test_", 1) for name in objectives if name.startswith("val_")]
    first = [*objectives, *(name for name in tests if name in measured)]
    others = sorted(measured, key=lambda name: ("loss" not in name, name.startswith("test"), name))
    return list(dict.fromkeys([*first, *others]))


def _column(name: str) -> dict[str, str]:
    kind = KINDS.get(name, "metric")
    if name.endswith("_ms"):
        kind = "milliseconds"
    if name in ("throughput", "flops_per_token", "train_memory_bytes"):
        kind = "count"
    return {"name": name, "title": TITLES.get(name, name), "kind": kind}


def curve_facts(material: Material) -> list[dict[str, Any]]:
    """Return the curves of the search's candidates.

    Each has the `candidate`'s place, its training losses as `train` (tokens and loss in turn, thin
    enough for the page) and its `rungs`: tokens, objective, validation loss of each measurement.
    """
    with_curves = [row for row in material.search if row.candidate_id in material.measured]
    each = CURVE_POINTS // max(1, len(with_curves))
    most = min(MOST, max(FEWEST, each))
    return [_curve(material, row, most) for row in with_curves]


def _curve(material: Material, row: CandidateRow, most: int) -> dict[str, Any]:
    measured = material.measured[row.candidate_id]
    points = [(n, loss) for n, loss in measured[-1].evaluation.curve if math.isfinite(loss)]
    rungs = [
        [
            one.evaluation.tokens,
            rounded(one.metrics.get(material.objective)),
            rounded(one.metrics.get(LOSS)),
        ]
        for one in measured
    ]
    train = [number for n, loss in thinned(points, most) for number in (n, rounded(loss, 5))]
    return {"candidate": material.place[row.candidate_id], "train": train, "rungs": rungs}


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Return at most so many of some points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(step * at)] for at in range(most)]
