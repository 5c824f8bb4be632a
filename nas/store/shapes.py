"""Shapes that a study holds beside its candidates: enqueued ones, and another study's results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas.errors import InputError
from nas.records import Architecture, to_plain
from nas.store import tables as t
from nas.store.rows import StudyRecord


def enqueue(
    connection: sa.Connection, study: StudyRecord, architecture: Architecture, when: datetime
) -> None:
    """Store that a shape is to be tried; see `Store.enqueue`. The same `when` is the same call."""
    c = t.candidate.c
    tried = _of(t.candidate, study).where(c.architecture_id == architecture.id, c.role == "search")
    if row := connection.execute(tried).first():
        raise InputError(
            f"study '{study.name}': the shape is candidate #{row.number} already; "
            f"see: nas show {study.name} {row.candidate_id}"
        )
    asked = _of(t.enqueued, study).where(t.enqueued.c.architecture_id == architecture.id)
    known = connection.execute(asked).first()
    if known is not None and known.created_at == when:
        return
    if known is not None:
        raise InputError(f"study '{study.name}': the shape is enqueued already")
    values = _values(study, architecture) | {"created_at": when}
    connection.execute(t.enqueued.insert().values(values))


def enqueued(connection: sa.Connection, study: StudyRecord) -> list[Architecture]:
    """Return the shapes that were asked for, tried or not, in the order of asking."""
    order = (t.enqueued.c.created_at, t.enqueued.c.architecture_id)
    return [
        _architecture(row) for row in connection.execute(_of(t.enqueued, study).order_by(*order))
    ]


def add_evidence(
    connection: sa.Connection, study: StudyRecord, found: Sequence[tuple[Architecture, float]]
) -> None:
    """Store another study's results, each shape once."""
    values = [_values(study, shape) | {"value": value} for shape, value in found]
    if values:
        connection.execute(t.evidence.insert(), values)


def evidence(connection: sa.Connection, study: StudyRecord) -> list[tuple[Architecture, float]]:
    """Return another study's results, in a fixed order."""
    query = _of(t.evidence, study).order_by(t.evidence.c.architecture_id)
    return [(_architecture(row), row.value) for row in connection.execute(query)]


def _of(table: sa.Table, study: StudyRecord) -> sa.Select[Any]:
    return sa.select(table).where(table.c.study_id == study.study_id)


def _values(study: StudyRecord, architecture: Architecture) -> dict[str, Any]:
    return {
        "study_id": study.study_id,
        "architecture_id": architecture.id,
        "family": architecture.family,
        "shape": to_plain(architecture.shape),
    }


def _architecture(row: sa.Row[Any]) -> Architecture:
    return Architecture(family=row.family, shape=row.shape)
