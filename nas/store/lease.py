"""One driver a study, wherever it runs: a lock in the database, held by the session that writes.

PostgreSQL lets go of it when the session ends, however that ends, so that the study of a driver
that died is free at once. Every connection of a driver's store takes it before anything is written
there: after the server was away it is taken again, and whoever finds it taken writes nothing more.

SQLite needs none: the lock on the study's folder, where the database is, says the same.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from nas.errors import InputError, StoreError
from nas.store.patience import AwayError, LeaseLostError

# A schema is a database of its own to us, and so its studies have locks of their own.
LOCK = """
SELECT pg_try_advisory_lock(hashtextextended(coalesce(current_schema(), '') || '/nas/' || %s, 0))
"""
# Whether any session holds that lock: a key of 64 bits is shown in two halves (`objsubid` 1).
# Source: PostgreSQL, "pg_locks".
HELD = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (classid::bigint << 32) | objid::bigint
    = hashtextextended(coalesce(current_schema(), '') || '/nas/' || %s, 0)
"""
OWNER = "SELECT owner FROM nas_study WHERE name = %s"
# The server finds out within a minute that a driver's machine is gone, and lets go of its lock.
KEEPALIVE = (
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who works on a study, or did last, and where its folder is."""

    user: str
    host: str
    process: int
    folder: str
    since: str  # ISO 8601, UTC

    @classmethod
    def here(cls, folder: Path) -> Self:
        """Return this process as the owner of a study in `folder`."""
        return cls(
            user=_user(),
            host=socket.gethostname(),
            process=os.getpid(),
            folder=str(folder),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)


def owner_words(owner: Mapping[str, Any] | None) -> str:
    """Return a stored owner in words."""
    if not owner:
        return "another process"
    found = {name: owner.get(name, "?") for name in ("user", "host", "process", "folder", "since")}
    return (
        f"{found['user']} on {found['host']}, process {found['process']}, since {found['since']}, "
        f"in {found['folder']}"
    )


class Lease:
    """The lock of one study for one owner.

    Args:
        study: The study's name.
        owner: Who takes it.
    """

    def __init__(self, study: str, owner: Owner) -> None:
        self.study, self.owner = study, owner
        self._held = False

    def take(self, connection: Any, _record: Any) -> None:
        """Take the lock on a new connection, before anybody uses that; else close it.

        Raises:
            InputError: If another driver works on the study.
            LeaseLostError: If another one does, and this one has held the lock before.
            AwayError: If the server has not yet noticed that our connection before is dead.
        """
        try:
            other = self._try(connection)
        except BaseException:
            connection.close()
            raise
        if other is None:
            self._held = True
            return
        connection.close()
        raise self._refused(other)

    def _try(self, connection: Any) -> Mapping[str, Any] | None:
        """Return None if the lock is ours now, else its owner as far as it is known."""
        with connection.cursor() as cursor:
            for setting in KEEPALIVE:
                cursor.execute(setting)
            cursor.execute(LOCK, (self.study,))
            if cursor.fetchone()[0]:
                connection.commit()  # the lock is the session's, and stays
                return None
            cursor.execute(OWNER, (self.study,))
            row = cursor.fetchone()
        return (row[0] if row else None) or {}

    def _refused(self, owner: Mapping[str, Any]) -> InputError | StoreError:
        if not self._held:
            return InputError(
                f"study '{self.study}': another search or training is at work on it: "
                f"{owner_words(owner)}; let it end, or stop it there with Ctrl-C"
            )
        if owner == self.owner.to_plain():
            return AwayError(f"study '{self.study}': the server still holds our last connection")
        return LeaseLostError(
            f"study '{self.study}': was taken over while the database was away, by "
            f"{owner_words(owner)}; this search ends, and what it stored is kept"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a number without a name, as in some containers
        return "an unnamed user"
