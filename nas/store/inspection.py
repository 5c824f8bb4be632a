"""A database looked at as it is, of whatever schema: what it is, and where its rows disagree."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from nas.records import STATES
from nas.store import engine as db
from nas.store import schema
from nas.store import tables as t
from nas.store.rows import StudyRecord
from nas.store.session import Session
from nas.store.urls import database_url, is_server

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


class Inspection(Session):
    """An open database, nothing of it made or upgraded."""

    @classmethod
    def of(cls, url_or_path: str | Path) -> Self:
        """Open a database to look at it.

        Raises:
            InputError: If the URL is malformed.
            NotFoundError: If there is no such file.
        """
        url = database_url(url_or_path)
        db.check_file(url, create=False)
        return cls(url)

    def server(self) -> str:
        """Return the kind and version of the database, by asking it.

        Raises:
            StoreError: If it cannot be reached or read.
        """
        with self._read() as connection:
            connection.execute(sa.select(sa.literal(1)))
            numbers = connection.dialect.server_version_info or ()
            kind = connection.dialect.name
        return f"{NAMES.get(kind, kind)} {'.'.join(map(str, numbers))}"

    def schema(self) -> str | None:
        """Return which schema it has, None if none of ours.

        Raises:
            StoreError: If a newer nas wrote it.
        """
        with self._read() as connection:
            return schema.version(connection, self.where)

    def damage(self) -> list[str]:
        """Return what SQLite finds wrong with its file; a server looks after its own."""
        if is_server(self._engine.url):
            return []
        with self._read() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [str(line) for line in found if line != "ok"]

    def orphans(self) -> list[str]:
        """Return how many rows name others that are not there, a line each kind."""
        found = []
        with self._read() as connection:
            for table in t.metadata.sorted_tables:
                for key in table.foreign_key_constraints:
                    count = connection.scalar(_without_parent(table, key))
                    if count:
                        parent = key.referred_table.name
                        found.append(f"{count} rows of {table.name} without their {parent}")
        return found

    def disagreements(self, study: StudyRecord) -> list[str]:
        """Return which candidates' measurements do not add up, a line each."""
        c, e = t.candidate.c, t.evaluation.c
        both = (e.study_id == c.study_id) & (e.candidate_id == c.candidate_id)
        query = (
            sa.select(c.candidate_id, c.role, c.state, c.tokens)
            .add_columns(e.rung, e.tokens.label("since"), e.total_tokens)
            .select_from(t.candidate.outerjoin(t.evaluation, both))
            .where(c.study_id == study.study_id)
            .order_by(c.candidate_id, e.rung)
        )
        with self._read() as connection:
            rows = connection.execute(query).all()
        groups = groupby(rows, key=lambda row: row.candidate_id)
        return [
            f"{candidate_id}: {problem}"
            for candidate_id, group in groups
            for problem in _problems(list(group))
        ]


def _without_parent(table: sa.Table, key: sa.ForeignKeyConstraint) -> sa.Select[Any]:
    parent = key.referred_table.alias()
    pairs = [(one.parent, parent.c[one.column.name]) for one in key.elements]
    joined = table.outerjoin(parent, sa.and_(*(own == other for own, other in pairs)))
    return sa.select(sa.func.count()).select_from(joined).where(pairs[0][1].is_(None))


def _problems(rows: list[sa.Row[Any]]) -> list[str]:
    """Return what is wrong with one candidate; its rows are its measurements, by rung."""
    first = rows[0]
    found = [] if first.state in STATES else [f"unknown state '{first.state}'"]
    if first.rung is None:
        return [*found, "complete and never measured"] if first.state == "complete" else found
    before = 0
    for number, row in enumerate(rows):
        since = row.total_tokens - before
        # One that is trained further goes on from another's training, whose tokens count there.
        inherits = number == 0 and first.role == "extended" and 0 <= row.since <= since
        right = row.since == since or inherits
        if since <= 0 or not right:
            found.append(
                f"rung {row.rung}: {row.since} tokens since the one before, and {row.total_tokens} "
                f"in all after {before}"
            )
        before = row.total_tokens
    if first.tokens < before:
        found.append(f"trained on {first.tokens} tokens, and measured at {before}")
    return found
