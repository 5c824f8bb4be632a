"""A SQLite file where nothing can be written: on a read-only mount, or in a folder of others.

SQLite reads a database in WAL mode only where it may write the memory that readers share, unless it
is told that nobody writes meanwhile. That is so on a disk of which all is read-only. Where others
can write it, what they write while it is read may be missed or seen half: read a copy then.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nas.store.urls import sqlite_file

LOG = "-wal"  # what SQLite adds to a file's name for its write-ahead log


def read_only_options(url: sa.URL) -> dict[str, Any]:
    """Return how an engine opens a file that cannot be written; nothing for all else.

    A log that a crash left is read too, if the file that readers share lies beside it.
    """
    file = sqlite_file(url)
    if file is None or not file.is_file() or os.access(file.parent, os.W_OK):
        return {}
    log = file.with_name(file.name + LOG)
    has_log = log.is_file() and log.stat().st_size > 0
    return {"creator": _connector(file, "mode=ro" if has_log else "mode=ro&immutable=1")}


def _connector(file: Path, options: str) -> Callable[[], sqlite3.Connection]:
    # Connections are the pool's, which hands one to one thread at a time.
    return partial(sqlite3.connect, f"{file.as_uri()}?{options}", uri=True, check_same_thread=False)
