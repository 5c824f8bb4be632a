"""Where studies are: folders, and the databases that these or a URL lead to. None is opened."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from nas.errors import InputError, NotFoundError, nearest
from nas.store.address import ADDRESS, has_address, read_address
from nas.store.rows import StudyRecord
from nas.store.urls import database_url, same_database, shown, sqlite_file, with_secrets

DATABASE = "study.db"  # in a study's folder, unless a server has it

_URL = re.compile(r"(?P<url>\w[\w+.-]*://.*?)(?:#(?P<name>[^/#@?]*))?", re.DOTALL)


def studies_folder() -> Path:
    """Return the folder that studies are kept in: `studies`, or what NAS_STUDIES names."""
    return Path(os.environ.get("NAS_STUDIES") or "studies")


def list_studies() -> list[str]:
    """Return the names of the studies in the studies folder, the last one written to first."""
    found = [(_last_write(file), file.parent.name) for file in _databases()]
    return [name for _, name in sorted(found, reverse=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a study is, before it is opened.

    Attributes:
        url: The database's URL, with what secrets are known: not for messages.
        name: The study's name there; None: the only one.
        folder: Its folder; None: the database is to be asked.
    """

    url: str
    name: str | None
    folder: Path | None


def is_url(text: str) -> bool:
    """Say whether a study is named by its database's URL."""
    return _URL.fullmatch(text) is not None


def find_place(name_or_path_or_url: str | Path, database: str | None = None) -> Place:
    """Return where a study is; see `study.open_study`."""
    text = str(name_or_path_or_url)
    if match := _URL.fullmatch(text):
        file = sqlite_file(database_url(match["url"]))
        folder = None if file is None else file.parent
        return Place(url=with_secrets(match["url"], database), name=match["name"], folder=folder)
    found = _find(text)
    address = read_address(found.parent) if found.name == ADDRESS else None
    if address is None:
        return Place(url=str(found), name=None, folder=found.parent)
    if database is not None and not same_database(database, address.url):
        raise InputError(
            f"{found}: the study is in {address.url}, and another database was given: "
            f"{shown(database_url(database))}"
        )
    url = with_secrets(address.url, database)
    return Place(url=url, name=address.study, folder=found.parent)


def newest_place() -> Place:
    """Return where the study in the studies folder is that was written to last.

    Raises:
        NotFoundError: If there is none.
    """
    names = list_studies()
    if not names:
        raise NotFoundError(f"no study in {studies_folder()}; start one with: nas search")
    return find_place(studies_folder() / names[0])


def folder_of(record: StudyRecord) -> Path:
    """Return the folder of a study that was found by its server's URL, as far as it is here.

    That is where it was last worked on, if that was on this machine or is reached from it.
    """
    owner = record.owner or {}
    there = Path(str(owner.get("folder", "")))
    is_here = owner.get("host") == socket.gethostname() and there.is_dir()
    if owner.get("folder") and (is_here or _names(there, record.name)):
        return there
    return studies_folder().absolute() / record.name


def _names(folder: Path, study: str) -> bool:
    """Say whether a folder says that it is a study's."""
    address = read_address(folder)
    return address is not None and address.study == study


def holds_study(folder: Path) -> bool:
    """Say whether a folder is a study's."""
    return (folder / DATABASE).exists() or has_address(folder)


def _find(text: str) -> Path:
    """Return the file that leads to a study given by path or name: a database or an address."""
    given, named = Path(text), studies_folder() / text
    files = [given, *(folder / name for folder in (given, named) for name in (ADDRESS, DATABASE))]
    for file in files:
        if os.path.isfile(file):  # noqa: PTH113 - False, not an error, for impossible names
            return file
    if os.path.isdir(given):  # noqa: PTH112 - as above
        raise NotFoundError(f"{given}: no {DATABASE} in this folder")
    names = list_studies()
    known = f"there are: {', '.join(names)}" if names else "there are none; start one: nas search"
    raise NotFoundError(f"no study '{text}' in {studies_folder()}; {known}{nearest(text, names)}")


def _databases() -> list[Path]:
    """Return what leads to the studies in the studies folder, one file each."""
    found: dict[Path, Path] = {}
    for name in (DATABASE, ADDRESS):
        found |= {file.parent: file for file in studies_folder().glob(f"*/{name}")}
    return [file for file in found.values() if file.is_file()]


def _last_write(file: Path) -> float:
    """Return when a study was last written to: its database, or what else changes in its folder."""
    beside = ("models", "checkpoints") if file.name == ADDRESS else (f"{file.name}-wal",)
    others = [path for path in (file.with_name(name) for name in beside) if path.exists()]
    filled = [path for path in others if path.is_dir() or path.stat().st_size]
    return max(path.stat().st_mtime for path in (file, *filled))
