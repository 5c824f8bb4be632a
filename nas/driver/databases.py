"""Which database a search's study is in, and how it is claimed, begun and moved aside there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nas.config import StudyConfig
from nas.driver.claim import claim
from nas.errors import InputError, StoreError
from nas.places import DATABASE
from nas.store.address import ADDRESS, read_address, write_address
from nas.store.environment import DATABASE as VARIABLE
from nas.store.lease import owner_words
from nas.store.mirror import rename_study
from nas.store.rows import StudyRecord
from nas.store.store import Store
from nas.store.urls import database_url, is_server, open_form, same_database, with_secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """Where the study of a folder is.

    Attributes:
        url: The database's URL, with what secrets are known: not for messages.
        on_server: Whether it is a server's; else a file in the folder.
        known: Whether the folder says so already: it is not the first search there.
    """

    url: str
    on_server: bool
    known: bool


def database_of(folder: Path, config: StudyConfig, given: str | None) -> Database:
    """Return where the study of a folder is, or where it is to be.

    A folder that has a study says where that is. Else it is where `given` or the study file says,
    then where the environment says, then in the folder.

    Args:
        folder: The study's folder, which need not be there.
        config: The study file.
        given: A server's URL with its secrets, from Python.

    Raises:
        InputError: If the study is in another database than is asked for, or the URL is wrong.
    """
    asked = given or config.database
    address = read_address(folder)
    if address is not None:
        if asked is not None and not same_database(asked, address.url):
            raise _elsewhere(config.name, address.url, folder / ADDRESS)
        return Database(url=with_secrets(address.url, given), on_server=True, known=True)
    file = folder / DATABASE
    if file.exists():
        if asked is not None:
            raise _elsewhere(config.name, str(file), file)
        return Database(url=str(file), on_server=False, known=True)
    wanted = asked or os.environ.get(VARIABLE)
    if not wanted:
        return Database(url=str(file), on_server=False, known=False)
    if "://" not in wanted or not is_server(database_url(wanted)):
        raise InputError(
            f"{'database' if asked else VARIABLE}: expected postgresql://USER@HOST/DATABASE; "
            "without it a study has a SQLite file in its folder"
        )
    return Database(url=with_secrets(wanted, given), on_server=True, known=False)


def _elsewhere(name: str, where: str, file: Path) -> InputError:
    return InputError(
        f"study '{name}' is in another database than the one asked for: {where} ({file}); leave "
        "that setting out, give the new study another --name, or move the old one with --fresh"
    )


def opened(database: Database, name: str, folder: Path) -> Store:
    """Open the database of a study, and claim the study there; tables are made where none are.

    Raises:
        InputError: If another driver works on it.
        StoreError: If the database cannot be used.
    """
    store = Store.open(database.url, create=True)
    try:
        store.claim(name, folder)
    except BaseException:
        store.close()
        raise
    return store


def existing(store: Store, name: str, folder: Path, database: Database) -> StudyRecord | None:
    """Return the study of a folder, None if it is not begun.

    Raises:
        InputError: If the folder is another study's, or a study of this name has another folder.
    """
    names = store.studies()
    if not database.on_server:
        if names and name not in names:  # two in a folder would delete each other's models
            raise InputError(_renamed(folder, names[0]))
        return store.study(name) if names else None
    address = read_address(folder)
    if address is not None and address.study != name:
        raise InputError(_renamed(folder, address.study))
    if name not in names:
        return None
    record = store.study(name)
    if not database.known:
        raise InputError(
            f"{store.where}: has a study '{name}' already, with another folder "
            f"({owner_words(record.owner)}); go on there, choose another --name, or delete it: "
            f"nas rm '{open_form(store.url)}#{name}'"
        )
    return record


def _renamed(folder: Path, study: str) -> str:
    return (
        f"{folder}: holds study '{study}', whose folder was renamed or copied; "
        "rename it back, or choose another --name"
    )


def note_address(folder: Path, database: Database, name: str) -> None:
    """Write down in a new study's folder which server has it, before it is made there."""
    if database.on_server and not database.known:
        write_address(folder, database.url, name)


class Aside:
    """A study that was moved aside, to make room for a new one of its name; may be put back.

    Args:
        folder: The study's folder.
        given: The URL of its server with its secrets, from Python.

    Raises:
        InputError: If a search is at work on it.
        OSError: If it cannot be renamed.
    """

    def __init__(self, folder: Path, given: str | None) -> None:
        claim(folder).close()
        self._before = self._now = folder
        address = read_address(folder)
        self._store: Store | None = None
        if address is None:
            self._now = folder.rename(_free(folder, ()))
            return
        self._url = with_secrets(address.url, _if_same(given, address.url))
        self._store = Store.open(self._url, create=True)
        try:
            self._store.claim(address.study, folder)
            self._now = folder.rename(_free(folder, self._store.studies()))
            self._rename(address.study, self._now.name)
        except StoreError:
            if folder != self._now:
                self._now.rename(folder)
            raise
        finally:
            self._store.close()

    def put_back(self) -> None:
        """Undo it."""
        self._now.rename(self._before)
        if self._store is not None:
            self._now, name = self._before, self._now.name
            try:
                self._rename(name, self._before.name)
            finally:
                self._store.close()

    def _rename(self, name: str, new_name: str) -> None:
        """Rename the study in its database, where the folder is under the new name already."""
        assert self._store is not None, "else the database lies in the folder"
        self._store.rename_study(name, new_name)
        rename_study(self._url, name, new_name)
        write_address(self._now, self._url, new_name)


def _free(folder: Path, names: list[str] | tuple[()]) -> Path:
    """Return the first `NAME.N` that no folder and no study is called."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists() or target.name in names:
        number += 1
    return target


def _if_same(given: str | None, url: str) -> str | None:
    return given if given is not None and same_database(given, url) else None
