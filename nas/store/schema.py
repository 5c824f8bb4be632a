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
_version = sa.table(VERSION_TABLE, sa.column("version_num"))


def is_current(connection: sa.Connection, where: str) -> bool:
    """Say whether the database has today's schema; False if it is to be made or upgraded.

    Raises:
        StoreError: If a newer release of `nas` wrote it.
    """
    if not has_schema(connection):
        return False
    version = connection.execute(sa.select(_version.c.version_num)).scalar()
    if version is not None and version not in SCHEMA_VERSIONS:
        raise StoreError(
            f"{where}: written by a newer nas (schema {version}, this one knows up to "
            f"{SCHEMA_VERSIONS[-1]}): upgrade with pip install -U transformer-nas"
        )
    return bool(version == SCHEMA_VERSIONS[-1])


def has_schema(connection: sa.Connection) -> bool:
    """Say whether the database holds any schema of ours."""
    return sa.inspect(connection).has_table(VERSION_TABLE)


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
