"""Where studies are kept: the disk, SQLite on it, and a server if one is named."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from nas.doctor.finding import BAD, NOTE, OK, Finding
from nas.driver.disk import free_bytes, in_words, why_full
from nas.driver.filesystem import file_system, place_warning
from nas.store.environment import DATABASE
from nas.study import studies_folder

LITTLE = 200e6  # bytes below which a study of a few million parameters may not fit
LEAST_SQLITE = (3, 35, 0)  # with RETURNING, which SQLAlchemy and Optuna use
SERVER_SECONDS = 2  # that a server is waited for


def studies() -> list[Finding]:
    """Look at the folder where studies go: can it be written, how much is free, on what."""
    folder = studies_folder().absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [_unwritable(folder, f"{place} cannot be written")]
    if words := why_full(folder):
        return [_unwritable(folder, words)]
    free = free_bytes(folder)
    room = "" if free is None else f", {in_words(free)} free"
    found = f"{folder}{room}"
    if free is not None and free < LITTLE:
        return [
            Finding(
                name="studies",
                state=NOTE,
                found=found,
                advice="free some space, or keep studies elsewhere with NAS_STUDIES",
            ),
            *_file_system(folder),
        ]
    return [Finding(name="studies", state=OK, found=found), *_file_system(folder)]


def _unwritable(folder: Path, words: str) -> Finding:
    return Finding(
        name="studies",
        state=BAD,
        found=f"{folder}: {words}",
        advice="make it writable, or keep studies elsewhere with NAS_STUDIES",
    )


def _file_system(folder: Path) -> list[Finding]:
    kind = file_system(folder)
    if warning := place_warning(folder):
        return [
            Finding(
                name="file system",
                state=NOTE,
                found=f"{kind or 'of a network'}: not safe for SQLite",
                advice=warning.partition(": ")[2],
            )
        ]
    return [Finding(name="file system", state=OK, found=kind)] if kind else []


def sqlite() -> list[Finding]:
    """Compare the version of SQLite that this Python has with what is needed."""
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= LEAST_SQLITE:
        return [Finding(name="SQLite", state=OK, found=found)]
    return [
        Finding(
            name="SQLite",
            state=BAD,
            found=found,
            advice=f"{'.'.join(map(str, LEAST_SQLITE))} or later is needed: take a newer Python",
        )
    ]


def server() -> list[Finding]:
    """Try the PostgreSQL server that NAS_DATABASE names, if it names one."""
    url = os.environ.get(DATABASE)
    if not url:
        return []
    from nas.errors import NasError
    from nas.store.urls import database_url, is_server, shown

    try:
        address = database_url(url)
        if not is_server(address):
            return [Finding(name=DATABASE, state=OK, found=shown(address))]
        return [_reached(address.render_as_string(hide_password=False), shown(address))]
    except NasError as error:
        return [
            Finding(
                name=DATABASE, state=BAD, found=str(error), advice=f"correct or unset {DATABASE}"
            )
        ]


def _reached(url: str, name: str) -> Finding:
    """Return whether a server answers; what it says holds no password."""
    try:
        import psycopg
    except ImportError:
        return Finding(
            name="PostgreSQL",
            state=BAD,
            found=f"{name}: no driver",
            advice='pip install "transformer-nas[postgresql]"',
        )
    plain = url.replace("postgresql+psycopg:", "postgresql:", 1)
    try:
        with psycopg.connect(plain, connect_timeout=SERVER_SECONDS) as connection:
            number = connection.info.server_version
    except psycopg.Error as error:
        password = psycopg.conninfo.conninfo_to_dict(plain).get("password")
        told = " ".join(str(error).split())[:200]
        told = told.replace(str(password), "***") if password else told
        return Finding(
            name="PostgreSQL",
            state=BAD,
            found=f"{name}: {told}",
            advice=f"start the server or correct {DATABASE}; without it studies are SQLite files",
        )
    return Finding(name="PostgreSQL", state=OK, found=f"{name} answers, version {number // 10000}")
