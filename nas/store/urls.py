"""The address of a database: checked, compared, and shown or stored without its secrets.

A password is in the URL that Python or `NAS_DATABASE` gives, or where libpq finds it (`PGPASSWORD`,
a password file, a service file). It never reaches a message, a file or a command line.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from nas.errors import InputError
from nas.store.environment import DATABASE

POSTGRESQL = "postgresql+psycopg"  # the driver that the extra `postgresql` installs
FORM = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"

# What may follow the `?` of a URL and be stored: anything else may be a secret.
# Source: PostgreSQL, "Parameter Key Words", libpq.
OPEN_OPTIONS = frozenset(
    {
        "application_name",
        "channel_binding",
        "connect_timeout",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "options",
        "passfile",
        "port",
        "require_auth",
        "service",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    }
)


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
        kind, _, driver = url.drivername.partition("+")
    except (ArgumentError, ValueError):
        raise InputError(f"malformed database URL; write {FORM}") from None
    if kind not in ("sqlite", "postgresql", "postgres"):
        raise InputError(f"database URL: got kind '{kind}', expected sqlite or postgresql")
    if kind != "sqlite":
        return _server_url(url, driver)
    if url.database in (None, "", ":memory:"):
        raise InputError("database URL: a study needs a file; write sqlite:///FILE")
    return url.set(database=str(Path(str(url.database)).absolute()))


def _server_url(url: sa.URL, driver: str) -> sa.URL:
    if driver not in ("", "psycopg"):
        raise InputError(f"database URL: got driver '{driver}'; leave it out: postgresql://...")
    if "@" in (url.host or ""):  # the rest of a password that was not escaped
        raise InputError(f"malformed database URL: write @ in a password as %40; write {FORM}")
    return url.set(drivername=POSTGRESQL)


def is_server(url: sa.URL) -> bool:
    """Say whether a database is a server's, not a file."""
    return url.get_backend_name() != "sqlite"


def sqlite_file(url: sa.URL) -> Path | None:
    """Return the file of a SQLite database, None for a server's."""
    return None if is_server(url) else Path(str(url.database))


def shown(url: sa.URL) -> str:
    """Return how messages name a database: a file's path, or a URL without secrets."""
    if not is_server(url):
        return str(url.database)
    plain = url.set(drivername="postgresql", query={})
    return plain.render_as_string(hide_password=True)


def stored_form(url: sa.URL) -> str:
    """Return the URL of a server without secrets, as it may be written down."""
    options = {name: value for name, value in url.query.items() if name in OPEN_OPTIONS}
    plain = sa.URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, options
    )
    return plain.render_as_string(hide_password=False)


def open_form(text: str) -> str:
    """Return a URL or path as it may be written down: without secrets, where it is a server's."""
    url = database_url(text)
    return stored_form(url) if is_server(url) else text


def has_secrets(url: sa.URL) -> bool:
    """Say whether a URL holds a password, or an option that may be one."""
    return url.password is not None or not OPEN_OPTIONS.issuperset(url.query)


def refuse_secrets(text: str, where: str) -> None:
    """Refuse a server's URL that holds a password, where others would read it.

    Raises:
        InputError: If it does; the message does not show it.
    """
    url = database_url(text)
    if is_server(url) and has_secrets(url):
        raise InputError(
            f"{where}: got a database URL with a password, which others could read there; leave it "
            f"out and set {DATABASE} to the whole URL, or PGPASSWORD, or write it to ~/.pgpass"
        )


def with_secrets(text: str, given: str | None = None) -> str:
    """Return the URL of a database with the password that is known for it.

    Args:
        text: A URL without secrets, or with its own, which stay.
        given: The same URL with its secrets, where they are not in `NAS_DATABASE`.
    """
    url = database_url(text)
    if not is_server(url) or has_secrets(url):
        return text
    for known in (given, os.environ.get(DATABASE)):
        if known and same_database(known, text):
            return str(known)
    return text


def same_database(one: str, other: str) -> bool:
    """Say whether two URLs are of one database, whatever secrets they hold."""
    urls = [database_url(text) for text in (one, other)]
    if any(not is_server(url) for url in urls):
        return urls[0] == urls[1]
    return stored_form(urls[0]) == stored_form(urls[1])
