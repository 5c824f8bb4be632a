"""The statements that read, a few for any number of candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from nas.errors import StoreError
from nas.records import CheckpointRef, Evaluation, Numerics, Recipe, TaskSpec, from_plain
from nas.store import tables as t
from nas.store.rows import CandidateRow, EvaluationRow, StudyRecord


def is_candidate(table: sa.Table, study: StudyRecord, candidate_id: str) -> sa.ColumnElement[bool]:
    """Return the condition that a table's row is of one candidate."""
    return (table.c.study_id == study.study_id) & (table.c.candidate_id == candidate_id)


def study_names(connection: sa.Connection) -> list[str]:
    """Return the names of all studies, oldest first."""
    return list(connection.scalars(sa.select(t.study.c.name).order_by(t.study.c.study_id)))


def study(connection: sa.Connection, name: str) -> StudyRecord | None:
    """Return a study's record, None if there is none of this name."""
    row = connection.execute(sa.select(t.study).where(t.study.c.name == name)).first()
    if row is None:
        return None
    stored = dict(row._mapping)
    numerics = stored["numerics"]
    stored |= {
        "rungs": tuple(stored["rungs"]),
        "objectives": tuple(stored["objectives"]),
        "task_spec": from_plain(TaskSpec, stored["task_spec"]),
        "numerics": None if numerics is None else from_plain(Numerics, numerics),
    }
    return StudyRecord(**stored)


def candidate_state(connection: sa.Connection, study: StudyRecord, candidate_id: str) -> str | None:
    """Return a candidate's state, None if the study has no such candidate."""
    here = is_candidate(t.candidate, study, candidate_id)
    return connection.scalar(sa.select(t.candidate.c.state).where(here))


def rungs_of(connection: sa.Connection, study: StudyRecord, candidate_id: str) -> dict[int, int]:
    """Return the rungs at which a candidate was measured, and the tokens it had seen there."""
    here = is_candidate(t.evaluation, study, candidate_id)
    columns = t.evaluation.c
    found = connection.execute(sa.select(columns.rung, columns.total_tokens).where(here))
    return {row.rung: row.total_tokens for row in found}


def candidate_rows(
    connection: sa.Connection,
    study: StudyRecord,
    *,
    all_rungs: bool = False,
    candidate_id: str | None = None,
) -> list[CandidateRow]:
    """Return the candidates, or one of them, in order of proposal; see `Store.rows`."""
    # Of one candidate the last rung is quicker found here than asked for.
    only_last = not all_rungs and candidate_id is None
    found = _evaluations(connection, study, last_only=only_last, candidate_id=candidate_id)
    measured = {key: list(group) for key, group in groupby(found, attrgetter("candidate_id"))}
    if not all_rungs:
        measured = {key: group[-1:] for key, group in measured.items()}
    rows: list[CandidateRow] = []
    chosen = _candidates(study)
    if candidate_id is not None:
        chosen = chosen.where(t.candidate.c.candidate_id == candidate_id)
    for stored in connection.execute(chosen):
        shown = measured.get(stored.candidate_id) or (None,)
        rows.extend(_candidate_row(study, stored, each) for each in shown)
    return rows


def evaluation_rows(
    connection: sa.Connection, study: StudyRecord, candidate_id: str | None
) -> list[EvaluationRow]:
    """Return measurements with their curves; see `Store.evaluations`."""
    return list(_evaluations(connection, study, candidate_id=candidate_id, curves=True))


def _candidates(study: StudyRecord) -> sa.Select[Any]:
    c, a, m = t.candidate, t.architecture, t.model
    same = ["family", "shape", "columns", "params", "flops_per_token", "train_memory_bytes"]
    return (
        sa.select(c, *(a.c[name] for name in same), m.c.path)
        .join(a, _same(c, a, "study_id", "architecture_id"))
        .outerjoin(m, _same(c, m, "study_id", "candidate_id"))
        .where(c.c.study_id == study.study_id)
        .order_by(c.c.number, c.c.created_at, c.c.candidate_id)
    )


def _candidate_row(
    study: StudyRecord, stored: sa.Row[Any], measured: EvaluationRow | None
) -> CandidateRow:
    evaluation = measured.evaluation if measured else None
    _own_path(f"models/{stored.candidate_id}", "models")  # where its model folder goes
    return CandidateRow(
        study=study.name,
        number=stored.number,
        role=stored.role,
        candidate_id=stored.candidate_id,
        architecture_id=stored.architecture_id,
        family=stored.family,
        shape={k: tuple(v) if isinstance(v, list) else v for k, v in stored.shape.items()},
        recipe=from_plain(Recipe, stored.recipe),
        seed=stored.seed,
        data_fingerprint=stored.data_fingerprint,
        budget=stored.budget,
        state=stored.state,
        rung=evaluation.rung if evaluation else None,
        tokens=evaluation.tokens if evaluation else stored.tokens,
        seconds=evaluation.seconds if evaluation else 0.0,
        params=stored.params,
        flops_per_token=stored.flops_per_token,
        train_memory_bytes=stored.train_memory_bytes,
        columns=stored.columns,
        parameters=stored.parameters,
        metrics=measured.metrics if measured else {},
        model_path=stored.path and _own_path(stored.path, "models"),
        checkpoint=_checkpoint(stored.checkpoint) if stored.checkpoint else None,
        timings=stored.timings,
        error=stored.error,
        traceback=stored.traceback,
        created_at=stored.created_at,
        finished_at=stored.finished_at,
    )


def _checkpoint(plain: Any) -> CheckpointRef:
    found = from_plain(CheckpointRef, plain)
    _own_path(found.uri, "checkpoints")
    return found


def _own_path(path: str, folder: str) -> str:
    """Return a stored path, which names something right within a folder of the study.

    A database is content: what it names is loaded and deleted, and nothing outside may be.
    """
    parent, slash, name = path.partition("/")
    if parent != folder or not slash or name in ("", ".", "..") or set(name) & set("/\\"):
        raise StoreError(f"the database was altered: {path!r} is no path in {folder}/")
    return path


def _evaluations(
    connection: sa.Connection,
    study: StudyRecord,
    *,
    candidate_id: str | None = None,
    curves: bool = False,
    last_only: bool = False,
) -> Iterator[EvaluationRow]:
    """Yield measurements by candidate and rung, their metrics gathered from one ordered query."""
    e, m = t.evaluation, t.metric
    columns = [
        e.c.candidate_id,
        e.c.rung,
        e.c.total_tokens,
        e.c.seconds,
        m.c.split,
        m.c.name,
        m.c.value,
    ]
    query = (
        sa.select(*columns, *([e.c.curve] if curves else []))
        .outerjoin(m, _same(e, m, "study_id", "candidate_id", "rung"))
        .where(e.c.study_id == study.study_id)
        .order_by(e.c.candidate_id, e.c.rung, m.c.split.desc(), m.c.name)
    )
    if candidate_id is not None:
        query = query.where(e.c.candidate_id == candidate_id)
    if last_only:
        query = query.where(e.c.rung == _last_rung(e))
    for _, group in groupby(connection.execute(query), attrgetter("candidate_id", "rung")):
        yield _evaluation_row(list(group), curves=curves)


def _last_rung(evaluation: sa.Table) -> sa.ScalarSelect[Any]:
    other = evaluation.alias()
    here = _same(evaluation, other, "study_id", "candidate_id")
    return sa.select(sa.func.max(other.c.rung)).where(here).scalar_subquery()


def _same(a: sa.FromClause, b: sa.FromClause, *names: str) -> sa.ColumnElement[bool]:
    return sa.and_(*(a.c[name] == b.c[name] for name in names))


def _evaluation_row(group: list[sa.Row[Any]], *, curves: bool) -> EvaluationRow:
    first = group[0]
    metrics: dict[str, dict[str, float]] = {}
    for row in group:
        if row.split is not None:  # null where a measurement has no finite metric
            metrics.setdefault(row.split, {})[row.name] = row.value
    curve = first.curve if curves else ()
    evaluation = Evaluation(
        rung=first.rung,
        tokens=first.total_tokens,
        seconds=first.seconds,
        metrics=metrics,
        curve=tuple((n, math.nan if loss is None else loss) for n, loss in curve),
    )
    return EvaluationRow(candidate_id=first.candidate_id, evaluation=evaluation)
