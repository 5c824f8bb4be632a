"""What several searches have to show side by side: plain facts for the terminal and for a page.

Searches that differ only in their seed are one group: its line is their median, its band their
range. What must not be compared is said (see `comparable`) and compared all the same, since the
reader may know better.
"""

from __future__ import annotations

import re
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from nas.errors import InputError, NotFoundError
from nas.finals import compare, mean_interval, sample
from nas.records import BESIDE_ROLES, ShapeValue, canonical_json
from nas.report.clock import Clock, busy_seconds
from nas.report.comparable import FIGURES, LOSSES, warnings_of
from nas.report.shapes import shape_fact
from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.study import Study
from nas.tasks.metrics import badness, direction
from nas.wording import comparison_words, measure

LOSS = "val_loss"  # what every task measures
# Settings in which searches of one group may differ: they change nothing but luck.
LUCK = ("seed", "keep")

Points = tuple[tuple[float, float], ...]  # (seconds of searching, value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A metric of a winner, or of the winners of a group."""

    mean: float
    interval: tuple[float, float] | None  # 95 %, of the mean; None for one value
    values: tuple[float, ...]
    over: str  # "seeds" of one winner, or "searches", each with its own winner


@dataclass(frozen=True, kw_only=True, slots=True)
class Winner:
    """The shape that a search ends with."""

    candidate_id: str
    architecture_id: str
    family: str
    shape: Mapping[str, ShapeValue]
    params: int | None
    is_reference: bool
    drawing: Mapping[str, Any]  # what is drawn of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a search has used."""

    seconds: float  # of searching, finals included
    worker_seconds: float  # of all its workers together
    tokens: int  # trained on
    flops: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One search.

    Attributes:
        states: How many candidates of the search there are in each state.
        best_so_far: The moments at which the best value got better, and the last one.
        final: Metrics of the winner over fresh seeds, by name; none without finals.
        winner: None if no candidate is complete.
    """

    name: str
    folder: str
    seed: int | None
    state: str
    states: Mapping[str, int]
    spent: Spent
    best: float | None
    best_so_far: Points
    final: Mapping[str, Figure]
    winner: Winner | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Searches that differ only in their seed.

    Attributes:
        band: Seconds, and median, least and largest of the best values so far; from where every
            search has one to where the first one ends.
    """

    label: str
    runs: tuple[Run, ...]
    band: tuple[tuple[float, float, float, float], ...]
    final: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Searches side by side.

    Attributes:
        objective: The column that all are compared on.
        direction: `minimize` or `maximize`.
        groups: In the order in which their first searches were given.
        verdict: Which winner is better, in a sentence.
        warnings: Why some of it does not compare, a sentence each.
    """

    objective: str
    direction: str
    groups: tuple[Group, ...]
    verdict: str
    warnings: tuple[str, ...]


def compare_studies(studies: Sequence[Study]) -> Comparison:
    """Put searches side by side.

    Args:
        studies: Two or more.

    Raises:
        InputError: If there are fewer, or one is given twice.
        NotFoundError: If no candidate of any is complete.
    """
    _check(studies)
    objective = _objective(studies)
    runs = [_run(study, objective) for study in studies]
    if not any(run.best_so_far for run in runs):
        names = ", ".join(f"'{study.name}'" for study in studies)
        raise NotFoundError(
            f"studies {names}: no complete candidate in any of them, nothing to compare yet; "
            f"see: nas trials {studies[0].name}"
        )
    groups = _groups(studies, runs, objective)
    warnings = tuple(warnings_of(studies, _firsts(studies), objective))
    apart = any(one.startswith((FIGURES, LOSSES)) for one in warnings)
    return Comparison(
        objective=objective,
        direction=direction(objective),
        groups=groups,
        verdict=f"no verdict: {FIGURES}" if apart else _verdict(groups, objective),
        warnings=warnings,
    )


def best_at(points: Points, seconds: float) -> float | None:
    """Return the best value up to a moment, None before there is one or after the search."""
    at = bisect_right(points, seconds, key=lambda point: point[0])
    ended = not points or seconds > points[-1][0]
    return None if at == 0 or ended else points[at - 1][1]


def _check(studies: Sequence[Study]) -> None:
    if len(studies) < 2:
        raise InputError(f"compare: got {len(studies)} study, expected two or more")
    seen = set()
    for study in studies:
        place = (Path(study.database).resolve(), study.name)
        if place in seen:
            raise InputError(f"compare: study '{study.name}' is given twice; name different ones")
        seen.add(place)


def _objective(studies: Sequence[Study]) -> str:
    """Return what all are ranked by, or the loss, which all have."""
    found = {study.objectives[0] for study in studies}
    return found.pop() if len(found) == 1 else LOSS


def _run(study: Study, objective: str) -> Run:
    rows = [row for row in study.trials() if row.role not in BESIDE_ROLES]
    search = [row for row in rows if row.role == "search"]
    clock = Clock(study.record.created_at, rows)
    points = _best_so_far(search, objective, clock)
    summary = study.summary() or {}
    winner = _winner(study, search, summary.get("winner"))
    return Run(
        name=study.name,
        folder=str(study.folder),
        seed=study.config.get("seed"),
        state=study.record.state,
        states=dict(Counter(row.state for row in search)),
        spent=_spent(rows, clock, summary),
        best=points[-1][1] if points else None,
        best_so_far=points,
        final=_final(study, objective, winner),
        winner=winner,
    )


def _best_so_far(rows: Sequence[CandidateRow], objective: str, clock: Clock) -> Points:
    ended = [(at, row) for row in rows if (at := clock.at(row.finished_at)) is not None]
    ended.sort(key=lambda pair: (pair[0], pair[1].number))
    points: list[tuple[float, float]] = []
    for at, row in ended:
        value = ranking.number_of(row, objective) if row.state == "complete" else None
        best = points[-1][1] if points else None
        if value is not None and badness(value, objective) < badness(best, objective):
            points.append((at, value))
    if points and ended[-1][0] > points[-1][0]:
        points.append((ended[-1][0], points[-1][1]))
    return tuple(points)


def _spent(rows: Sequence[CandidateRow], clock: Clock, summary: Mapping[str, Any]) -> Spent:
    return Spent(
        seconds=float(summary.get("elapsed_seconds", clock.seconds)),
        worker_seconds=sum(busy_seconds(row.timings) for row in rows),
        tokens=sum(row.tokens for row in rows),
        flops=sum(row.tokens * row.columns.get("train_flops_per_token", 0.0) for row in rows),
    )


def _winner(study: Study, search: Sequence[CandidateRow], winner_id: str | None) -> Winner | None:
    done = [row for row in search if row.state == "complete"]
    ranked = ranking.best_first(done, study.objectives[0])
    chosen = [row for row in ranked if row.architecture_id == winner_id] or ranked
    if not chosen:
        return None
    row, reference = chosen[0], (study.summary() or {}).get("reference")
    return Winner(
        candidate_id=row.candidate_id,
        architecture_id=row.architecture_id,
        family=row.family,
        shape=dict(row.shape),
        params=row.params,
        is_reference=row.architecture_id == reference,
        drawing=shape_fact(row),
    )


def _final(study: Study, objective: str, winner: Winner | None) -> dict[str, Figure]:
    """Return the winner's figures from fresh seeds: the objective and what it is on test."""
    group = next(
        (g for g in study.finalists() if winner and g.architecture_id == winner.architecture_id),
        None,
    )
    if group is None:
        return {}
    found = {name: figure(group.values(name), "seeds") for name in final_metrics(objective)}
    return {name: one for name, one in found.items() if one is not None}


def final_metrics(objective: str) -> tuple[str, ...]:
    """Return the objective and its twin on test, where it has one."""
    twin = objective.replace("val_", "test_", 1)
    return (objective,) if twin == objective else (objective, twin)


def figure(values: Sequence[float], over: str) -> Figure | None:
    """Return the mean of values with its interval, None for no value."""
    found = sample(values)
    if found is None:
        return None
    return Figure(mean=found.mean, interval=mean_interval(found), values=tuple(values), over=over)


def _groups(studies: Sequence[Study], runs: Sequence[Run], objective: str) -> tuple[Group, ...]:
    members: dict[str, list[Run]] = {}
    for study, run in zip(studies, runs, strict=True):
        members.setdefault(_settings(study), []).append(run)
    labels = _labels(list(members.values()))
    return tuple(
        Group(
            label=label,
            runs=tuple(group),
            band=_band([run.best_so_far for run in group]),
            final=_final_of_group(group, objective),
        )
        for label, group in zip(labels, members.values(), strict=True)
    )


def _verdict(groups: Sequence[Group], objective: str) -> str:
    """Say which winner is better over fresh seeds, on test if that was measured of all."""
    metric = next(
        (m for m in reversed(final_metrics(objective)) if all(m in g.final for g in groups)), None
    )
    if metric is None or len(groups) < 2:
        return f"no verdict: {'one kind of search' if metric else 'not all of them had finals'}"
    first, second, *_ = sorted(groups, key=lambda g: badness(g.final[metric].mean, metric))
    found = compare(metric, first.final[metric].values, second.final[metric].values)
    assert found is not None, "both have values"
    lucky = any(len(group.runs) == 1 for group in (first, second))
    return (
        f"{metric} of the winners: {first.label} {measure(found.winner.mean)}, "
        f"{second.label} {measure(found.other.mean)}: {comparison_words(asdict(found))}"
        f"{'; a search from another seed may end elsewhere' if lucky else ''}"
    )


def _firsts(studies: Sequence[Study]) -> list[Study]:
    """Return the first search of each group."""
    found: dict[str, Study] = {}
    for study in studies:
        found.setdefault(_settings(study), study)
    return list(found.values())


def _settings(study: Study) -> str:
    """Return all that a search was told but what only changes its luck, as text."""
    record = study.record
    told = {**record.config, **record.identity, "data_fingerprint": record.data_fingerprint}
    return canonical_json({name: told[name] for name in told if name not in LUCK})


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Return a name for each group: the study's, or what the names of several begin with."""
    labels = []
    for group in groups:
        names = [run.name for run in group]
        stem = _beginning(names).rstrip("-_. 0123456789") or names[0]
        labels.append(names[0] if len(names) == 1 else f"{stem} ({len(names)} seeds)")
    names_twice = {label for label in labels if labels.count(label) > 1}
    return [
        _longer(label, group) if label in names_twice else label
        for label, group in zip(labels, groups, strict=True)
    ]


def _beginning(names: Sequence[str]) -> str:
    """Return what all names begin with, without the part of a word at its end."""
    least, most = min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False))
    found = "".join(letter for letter, _ in same)
    goes_on = any(name[len(found) :][:1].isalpha() for name in names)
    return re.sub(r"[^\W\d_]+$", "", found) if goes_on else found


def _longer(label: str, group: Sequence[Run]) -> str:
    """Return the names themselves; of one study its folder too, since another is called so."""
    if len(group) > 1:
        return ", ".join(run.name for run in group)
    return f"{label} ({Path(group[0].folder).parent})"


def _band(lines: Sequence[Points]) -> tuple[tuple[float, float, float, float], ...]:
    """Return median and range of step functions wherever all have a value."""
    if not lines or not all(lines):
        return ()
    begin, end = max(line[0][0] for line in lines), min(line[-1][0] for line in lines)
    moments = sorted({t for line in lines for t, _ in line if begin <= t <= end} | {begin, end})
    found = []
    for moment in moments if begin <= end else ():
        values = [value for line in lines if (value := best_at(line, moment)) is not None]
        found.append((moment, statistics.median(values), min(values), max(values)))
    return tuple(found)


def _final_of_group(group: Sequence[Run], objective: str) -> dict[str, Figure]:
    """Return the figures of one search, or of several the means of their winners."""
    if len(group) == 1:
        return dict(group[0].final)
    found = {}
    for name in final_metrics(objective):
        means = [run.final[name].mean for run in group if name in run.final]
        found[name] = figure(means, "searches")
    return {name: one for name, one in found.items() if one is not None}
