"""An open database: made, upgraded, claimed for one driver, waited for when it is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa

from nas.errors import NotFoundError, StoreError
from nas.store import engine as db
from nas.store import schema
from nas.store import tables as t
from nas.store.lease import HELD, Lease, Owner
from nas.store.patience import Patience
from nas.store.urls import database_url, is_server, shown, stored_form

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Session")


class Session:
    """A database of studies, open.

    Attributes:
        where: How messages name it, without secrets.
        patience: What is done while it is away; shared with whoever else writes there.
    """

    def __init__(self, url: sa.URL) -> None:
        self._engine = db.make_engine(url)
        self._lease: Lease | None = None
        self.where = shown(url)
        self.patience = Patience()

    @classmethod
    def open(cls, url_or_path: str | Path, *, create: bool = False) -> Self:
        """Open a database; make or upgrade its tables where that is due.

        A server's, which others share whose release may be an older one, is upgraded only by who
        may also make it.

        Args:
            url_or_path: A SQLAlchemy URL (sqlite or postgresql), or a path to a SQLite file.
            create: Whether a missing database, or one without our tables, is made.

        Raises:
            InputError: If the URL is malformed.
            NotFoundError: If there is no such database, or no studies in it.
            StoreError: If it is unreadable, locked, to be upgraded or written by a newer release.
        """
        url = database_url(url_or_path)
        db.check_file(url, create=create)
        session = cls(url)
        try:
            session._prepare(create=create)
        except BaseException:
            session.close()
            raise
        return session

    @classmethod
    def upgrade(cls, url_or_path: str | Path) -> tuple[str, str]:
        """Bring a database to today's schema; return the one that it had, and today's.

        Raises:
            NotFoundError: If there is no such database, or no studies in it.
            StoreError: If it is unreadable, locked or written by a newer release.
        """
        url = database_url(url_or_path)
        db.check_file(url, create=False)
        with cls(url) as session:
            with session._read() as connection:
                found = schema.version(connection, session.where)
            if found is None:
                raise session._no_studies()
            session._prepare(create=True)
        return found, t.SCHEMA_VERSIONS[-1]

    def close(self) -> None:
        """Let go of the database, and of a study that was claimed."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The database's URL, with its password: not for messages."""
        return self._engine.url.render_as_string(hide_password=False)

    @property
    def owner(self) -> Mapping[str, Any] | None:
        """This process as the owner of the study that it has claimed, as it is stored."""
        return None if self._lease is None else self._lease.owner.to_plain()

    def wait_when_away(self, note: Callable[[str], None]) -> None:
        """From now on try again for a while what fails because the database is away.

        Args:
            note: Told when that begins and ends.
        """
        self.patience = Patience(note)

    def claim(self, name: str, folder: Path) -> None:
        """Keep other drivers from a study, stored or not, until this is closed.

        In a SQLite file nothing is done: the lock on the study's folder says the same. Who works
        on a study is stored with it by `Store.sign`.

        Args:
            name: The study's name.
            folder: Where its models are.

        Raises:
            InputError: If another driver works on it.
        """
        if not is_server(self._engine.url):
            return
        url = self._engine.url
        self.close()
        # One connection and no more: it holds the lock, and nothing is written past it.
        self._engine = db.make_engine(url, single=True)
        self._lease = Lease(name, Owner.here(folder))
        sa.event.listen(self._engine, "connect", self._lease.take)
        with self._read() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def is_claimed(self, name: str) -> bool | None:
        """Say whether a driver works on a study; None in a file, whose folder's lock tells."""
        if not is_server(self._engine.url):
            return None
        with self._read() as connection:
            return bool(connection.exec_driver_sql(HELD, (name,)).scalar())

    def _prepare(self, *, create: bool) -> None:
        with self._read() as connection:
            found = schema.version(connection, self.where)
        if found == t.SCHEMA_VERSIONS[-1]:
            return
        if found is None and not create:
            raise self._no_studies()
        if not create and is_server(self._engine.url):
            raise StoreError(
                f"{self.where}: has schema {found}, and this nas reads {t.SCHEMA_VERSIONS[-1]}; "
                f"upgrade it with: nas db upgrade '{stored_form(self._engine.url)}'"
            )
        engine = db.upgrading_engine(self._engine.url)
        try:
            with self._write(engine) as connection:
                schema.bring_up_to_date(connection, self.where)
        finally:
            engine.dispose()

    def _no_studies(self) -> NotFoundError:
        return NotFoundError(f"{self.where}: a database without studies of nas")

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """Yield a connection on which all that is read is of one moment."""
        engine: sa.Engine = self._engine
        if is_server(engine.url):
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with db.our_errors(self.where), engine.begin() as connection:
            try:
                yield connection
            except TypeError as error:  # from_plain met a field that it does not know
                raise StoreError(f"{self.where}: unreadable record ({error})") from error

    @contextmanager
    def _write(self, engine: sa.Engine | None = None) -> Iterator[sa.Connection]:
        writing = (engine or self._engine).execution_options(**{db.WRITES: True})
        with db.our_errors(self.where), writing.begin() as connection:
            yield connection


def patient(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Have a method, which is one transaction, tried again while the database is away."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.patience.run(lambda: method(self, *args, **kwargs), self._engine.dispose)

    return call
