"""The line of a study file that says which server keeps the study; it holds no password."""

from __future__ import annotations

from nas.errors import InputError
from nas.yaml_strict import Reader


def read_database(reader: Reader) -> str | None:
    """Return the URL of the server that a new study is kept on, None for a file in its folder."""
    if reader.value("database", default=None) is None:
        return None
    from nas.store.urls import database_url, is_server, refuse_secrets  # most files name none

    given = reader.text("database")
    try:
        if "://" not in given or not is_server(database_url(given)):
            raise InputError(
                "expected postgresql://USER@HOST/DATABASE; by itself a study has a SQLite file in "
                "its folder"
            )
        refuse_secrets(given, "database")
    except InputError as error:  # which do not show what was got: it may hold a password
        reader.fail("database", str(error).removeprefix("database: "))
    return given
