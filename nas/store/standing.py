"""The row that says how far a search under way has come, which its driver writes now and then.

It is for those who look on: no search reads it, and a lost one is not missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas.store import tables as t
from nas.store import writes
from nas.store.rows import StudyRecord


def put(connection: sa.Connection, study: StudyRecord, content: Mapping[str, Any]) -> None:
    """Replace a study's standing."""
    values = {"content": dict(content), "updated_at": writes.now()}
    here = t.standing.c.study_id == study.study_id
    if not connection.execute(t.standing.update().where(here).values(values)).rowcount:
        connection.execute(t.standing.insert().values(study_id=study.study_id, **values))


def get(connection: sa.Connection, study: StudyRecord) -> tuple[Mapping[str, Any], datetime] | None:
    """Return a study's standing and when it was written; None before there is one."""
    columns = t.standing.c
    found = sa.select(columns.content, columns.updated_at)
    row = connection.execute(found.where(columns.study_id == study.study_id)).first()
    return None if row is None else (row.content, row.updated_at)
