"""The environment variables that lead to a database, and what of them a worker may see: none."""

from __future__ import annotations

import re
from collections.abc import Mapping

DATABASE = "NAS_DATABASE"  # the URL of the database that new studies are kept in

# Every variable that libpq reads begins so.
# Source: PostgreSQL, "Environment Variables", libpq.
_LIBPQ = re.compile(r"PG[A-Z]+")
_SERVER_URL = re.compile(r"\s*postgres(ql)?(\+\w+)?://", re.IGNORECASE)


def without_database(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that name a database or hold its password.

    Workers get these: they have no database, and whoever reads their environment learns nothing.
    A variable of the user's own whose value is the URL of a server goes too.
    """
    return {
        name: value
        for name, value in environment.items()
        if name != DATABASE and not _LIBPQ.fullmatch(name) and not _SERVER_URL.match(value)
    }
