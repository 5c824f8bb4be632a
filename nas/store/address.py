"""Where the database of a study is that is not in its folder: `database.json` in the folder.

Every command that is given the folder or the study's name finds the database by it. It holds no
password. A folder from elsewhere is untrusted input, and this file has us connect to the server
that it names: it is read with care, and the README says what to think of such folders.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from nas.errors import InputError, StoreError
from nas.store.urls import database_url, has_secrets, is_server, stored_form

ADDRESS = "database.json"
FORMAT_VERSION = 1
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A server's database and a study in it."""

    url: str  # without secrets
    study: str


def has_address(folder: Path) -> bool:
    """Say whether a study's folder says that its database is elsewhere."""
    return os.path.isfile(folder / ADDRESS)  # noqa: PTH113 - False, not an error, for odd names


def read_address(folder: Path) -> Address | None:
    """Return where the database of a study's folder is, None if the folder does not say.

    Raises:
        StoreError: If the file is unreadable or says no such thing.
    """
    file = folder / ADDRESS
    if not has_address(folder):
        return None
    try:
        with file.open("rb") as opened:
            plain = json.loads(opened.read(MAX_BYTES))
        version, url, study = plain["format_version"], plain["url"], plain["study"]
        if version != FORMAT_VERSION or not isinstance(study, str) or not isinstance(url, str):
            raise ValueError
        address = database_url(url)
        if not is_server(address) or has_secrets(address):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError) as error:
        if isinstance(error, OSError):
            raise StoreError(f"{file}: cannot be read ({error.strerror})") from None
        raise StoreError(
            f'{file}: expected {{"format_version": {FORMAT_VERSION}, "url": '
            '"postgresql://USER@HOST/DATABASE", "study": "NAME"}, without a password'
        ) from None
    return Address(url=url, study=study)


def write_address(folder: Path, url: str, study: str) -> None:
    """Write down where the database of a study's folder is, without its secrets.

    Raises:
        OSError: If the folder cannot be written.
    """
    plain = {
        "format_version": FORMAT_VERSION,
        "url": stored_form(database_url(url)),
        "study": study,
    }
    temporary = folder / f".{ADDRESS}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(plain, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / ADDRESS)
