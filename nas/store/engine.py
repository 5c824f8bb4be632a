"""A connection to a study database: its settings, and its errors in our words.

A password never reaches a message: databases are named by `urls.shown`.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from nas.errors import InputError, NotFoundError, StoreError
from nas.store.patience import AwayError
from nas.store.read_only import read_only_options
from nas.store.urls import is_server, shown, sqlite_file

BUSY_SECONDS = 30.0  # how long a connection waits for another process's write
SMALLEST = 512  # bytes of a database that has anything in it: a page; see sqlite.org/fileformat
WRITES = "nas_writes"  # execution option: take SQLite's write lock at the start, not midway

# How long a server that does not answer is waited for, and after how many seconds of silence it is
# asked whether it is still there: else a cable that was pulled would hold a search for hours.
TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
# Errors after which another try may succeed: the connection is lost (08), a deadlock or the like
# (40), the server ends or begins (57P0), it has no connection left (53300).
# Source: PostgreSQL, "Error Codes".
PASSING = ("08", "40", "57P0", "53300")

# What a driver says, and what it means to a person.
HINTS = {
    "malformed": "the file is damaged; restore it from a copy, or start again with --fresh",
    "locked": "another process is writing; try again when it has finished",
    "readonly": "it cannot be written; check the permissions, or copy the folder elsewhere",
    "unable to open": "it cannot be opened; check the path and the permissions",
    "disk is full": "free some space and run again; nothing that was stored is lost",
    "No space left": "free some space there and run again; nothing that was stored is lost",
    "password": "set it in NAS_DATABASE (a whole URL), PGPASSWORD or ~/.pgpass",
    "refused": "is the server running, and is this its host and port?",
    'database "': "make it on the server with: createdb NAME",
    "permission denied for schema": "let the user make tables there: GRANT CREATE ON SCHEMA ...",
}


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
        size = file.stat().st_size
    except OSError:
        return  # SQLite says better what is wrong
    # An empty file is an empty database, but SQLite would take a short text for one, too.
    if size and (size < SMALLEST or not _reads_as_sqlite(file)):
        raise InputError(
            f"{file}: is no SQLite file; give a study folder or its study.db; one that is damaged "
            "is restored from a copy, or moved aside with --fresh"
        )


def _reads_as_sqlite(file: Path) -> bool:
    """Say whether SQLite itself takes a file for a database.

    Never by a file of our own: closing it drops all locks that this process has on the database
    (sqlite.org/howtocorrupt, 2.2), and the next process to leave deletes the log under our feet.
    """
    address = f"{file.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:  # of others, such as a lock, SQLite tells later
        return getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB
    return True


def make_engine(url: sa.URL, *, single: bool = False) -> sa.Engine:
    """Return an engine; on SQLite one with WAL, foreign keys and explicit transactions.

    Args:
        url: The database.
        single: Whether it has one connection at most, as a lock that is a session's needs.

    Raises:
        StoreError: If the driver of the database is not installed.
    """
    options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if single else {}
    read_only = read_only_options(url)
    try:
        engine = sa.create_engine(
            url,
            json_serializer=_json_text,
            connect_args=connect_options(url),
            **options,
            **read_only,
        )
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"{shown(url)}: no driver ({error}); run: pip install 'transformer-nas[postgresql]'"
        ) from error
    if not is_server(url):
        if not read_only:
            use_wal(engine)
        sa.event.listen(engine, "connect", _leave_transactions_to_us)
        sa.event.listen(engine, "begin", _begin)
    return engine


def connect_options(url: sa.URL) -> dict[str, Any]:
    """Return what a connection is made with beside what the URL says."""
    if not is_server(url):
        return {}
    return {name: value for name, value in TIMEOUTS.items() if name not in url.query}


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
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}").close()
    for pragma in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = NORMAL",  # with WAL safe when the process dies; see sqlite.org/wal
        "PRAGMA foreign_keys = ON",
    ):
        connection.execute(pragma).close()


def upgrading_engine(url: sa.URL) -> sa.Engine:
    """Return an engine for changing tables.

    SQLite changes a column by making the table anew; with foreign keys on, dropping the old one
    deletes the rows that belong to it. See sqlite.org/lang_altertable.html.
    """
    engine = make_engine(url)
    if not is_server(url):
        sa.event.listen(engine, "connect", _without_keys)
    return engine


def _without_keys(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = OFF").close()


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else sqlite3 begins one, but only before a change


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def our_errors(where: str) -> Iterator[None]:
    """Turn the database's errors into a `StoreError` of one line that names the database.

    Raises:
        AwayError: If the connection is lost or cannot be made.
        StoreError: If anything else is wrong.
    """
    try:
        yield
    except DBAPIError as error:
        raise in_our_words(error, where) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where}: {str(error).splitlines()[0]}") from error


def in_our_words(error: DBAPIError, where: str) -> StoreError:
    """Return the error of a database's driver as one of ours."""
    reason = _reason(str(error.orig))
    hints = [hint for words, hint in HINTS.items() if words in reason]
    kind = AwayError if is_away(error) else StoreError
    return kind("; ".join([f"{where}: {reason}", *hints[:1]]))


def _reason(text: str) -> str:
    """Return the first line of an error that says something."""
    lines = [line.strip(" -\t") for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(":")]  # "All failures were:"
    return (telling or lines or ["no reason given"])[0]


def is_away(error: DBAPIError) -> bool:
    """Say whether a database cannot be reached for now, or let go of the connection."""
    if error.connection_invalidated:
        return True
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return "locked" in str(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(PASSING)
