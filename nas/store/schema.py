"""The schema of a study database: made when new, brought up to date when old, refused when newer.

An up-to-date database is recognised by one row, without alembic. Only `nas_*` belongs to us:
Optuna keeps its own tables, and its own `alembic_version`, in the same database.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from nas.errors import StoreError
from nas.store.tables import LEADERBOARD, SCHEMA_VERSIONS, VERSION_TABLE, metadata

MIGRATIONS = Path(__file__).parent / "migrations"
# One process at a time makes or upgrades tables: PostgreSQL lets two begin and fails the second.
LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('nas schema', 0))")
_version = sa.table(VERSION_TABLE, sa.column("version_num"))


def version(connection: sa.Connection, where: str) -> str | None:
    """Return the schema of a database, None if it holds none of ours.

    Raises:
        StoreError: If a newer release of `nas` wrote it.
    """
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.select(_version.c.version_num)).scalar()
    if found is not None and found not in SCHEMA_VERSIONS:
        raise StoreError(
            f"{where}: written by a newer nas (schema {found}, this one knows up to "
            f"{SCHEMA_VERSIONS[-1]}): upgrade with pip install -U transformer-nas"
        )
    return str(found or "0000")  # migrated down to nothing


def bring_up_to_date(connection: sa.Connection, where: str) -> None:
    """Make our tables, or upgrade them, within the caller's transaction."""
    if connection.dialect.name == "postgresql":  # SQLite's write lock is held already
        connection.execute(LOCK)
    found = version(connection, where)  # asked again: another process may have been quicker
    if found is None:
        create_schema(connection)
    elif found != SCHEMA_VERSIONS[-1]:
        upgrade_schema(connection)


def create_schema(connection: sa.Connection) -> None:
    """Make all tables, indexes and the view of today's schema, and say which it is."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(sa.text(LEADERBOARD))
    connection.execute(
        sa.text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    )
    connection.execute(_version.insert().values(version_num=SCHEMA_VERSIONS[-1]))


def upgrade_schema(connection: sa.Connection) -> None:
    """Run the migrations that the database has not had, within the caller's transaction."""
    from alembic import command  # 0.2 s, needed only here
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
