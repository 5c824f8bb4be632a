"""A connection to a study database: its address, SQLite's settings and errors in our words.

A password never reaches a message: databases are named by `shown`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from nas.errors import InputError, NotFoundError, StoreError

BUSY_SECONDS = 30.0  # how long a connection waits for another process's write
MAGIC = b"SQLite format 3\0"  # how a database begins; see sqlite.org/fileformat
WRITES = "nas_writes"  # execution option: take SQLite's write lock at the start, not midway

# What a driver says, and what it means to a person.
HINTS = {
    "malformed": "the file is damaged; restore it from a copy, or start again with --fresh",
    "locked": "another process is writing; try again when it has finished",
    "readonly": "it cannot be written; check the permissions, or copy the folder elsewhere",
    "unable to open": "it cannot be opened; check the path and the permissions",
    "disk is full": "free some space and run again; nothing that was stored is lost",
}


def database_url(url_or_path: str | Path) -> sa.URL:
    """Return the address of a database from a SQLAlchemy URL or the path of a SQLite file.

    Raises:
        InputError: If the URL is malformed or of a kind that studies are not kept in.
    """
    text = str(url_or_path)
    if "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        raise InputError(
            "malformed database URL; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise InputError(f"database URL: got kind '{kind}', expected sqlite or postgresql")
    if kind == "postgresql":
        return url
    if url.database in (None, "", ":memory:"):
        raise InputError("database URL: a study needs a file; write sqlite:///FILE")
    return url.set(database=str(Path(str(url.database)).absolute()))


def shown(url: sa.URL) -> str:
    """Return how messages name a database: a file's path, or a URL without secrets."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def sqlite_file(url: sa.URL) -> Path | None:
    """Return the file of a SQLite database, None for a server's."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def check_file(url: sa.URL, *, create: bool) -> None:
    """See that a SQLite database's file is there, or that its folder is when it may be created.

    Raises:
        NotFoundError: If the file is missing and not to be created.
        InputError: If the file is none of SQLite.
        StoreError: If the folder cannot be made.
    """
    file = sqlite_file(url)
    if file is None:
        return
    if file.is_file():
        _check_is_sqlite(file)
        return
    if file.exists():
        raise StoreError(f"{file}: is no file; give a study folder or its study.db")
    if not create:
        raise NotFoundError(f"{file}: no such study database")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{file.parent}: cannot be made ({error.strerror})") from error


def _check_is_sqlite(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(MAGIC))
    except OSError:
        return  # SQLite says better what is wrong
    if begin and begin != MAGIC:  # an empty file is an empty database
        raise InputError(
            f"{file}: is no SQLite file; give a study folder or its study.db; one that is damaged "
            "is restored from a copy, or moved aside with --fresh"
        )


def make_engine(url: sa.URL) -> sa.Engine:
    """Return an engine; on SQLite one with WAL, foreign keys and explicit transactions.

    Raises:
        StoreError: If the driver of the database is not installed.
    """
    sqlite = url.get_backend_name() == "sqlite"
    try:
        engine = sa.create_engine(url, json_serializer=_json_text)
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"{shown(url)}: no driver ({error}); run: pip install 'psycopg[binary]'"
        ) from error
    if sqlite:
        use_wal(engine)
        sa.event.listen(engine, "connect", _leave_transactions_to_us)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _json_text(plain: Any) -> str:
    """Return strict JSON: a number that is not finite becomes null, since PostgreSQL has no NaN."""
    try:
        return json.dumps(plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(plain), allow_nan=False)


def _finite(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def use_wal(engine: sa.Engine) -> None:
    """Set up every SQLite connection of an engine: readers never wait, commits are quick."""
    sa.event.listen(engine, "connect", _set_pragmas)


def _set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000:.0f}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # with WAL safe against a crash of the process; see sqlite.org/wal
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else sqlite3 begins one, but only before a change


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def our_errors(where: str) -> Iterator[None]:
    """Turn the database's errors into a `StoreError` of one line that names the database."""
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig) else "no reason given"
        hints = [hint for words, hint in HINTS.items() if words in reason]
        raise StoreError("; ".join([f"{where}: {reason}", *hints])) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where}: {str(error).splitlines()[0]}") from error
