"""From a name to a class: a row of a table of import strings, or one of the user's own.

A user's own is named `package.module:Name` where a table's key is expected. Importing it runs code,
and such names stand in files, folders and databases too: only names that the user has vouched for
are imported (`allow`, `vouch`), whoever asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from nas.errors import NotFoundError, UntrustedError, nearest

# What every class of a kind has, which tells it from whatever else a user's import string names.
MARKS = {
    "family": "cost",
    "task": "evaluate",
    "strategy": "propose",
    "executor": "submit",
    "logger": "finish",
}

# Names of the user's own that may be imported. Global, as imports are: what may be imported once
# in a process has run there.
_allowed: set[str] = set()


def is_own(name: str) -> bool:
    """Say whether a name means a class of the user's own rather than a row of a table."""
    return ":" in name


def is_cluster(name: str) -> bool:
    """Say whether an executor's name is the address of a Ray cluster, `ray://host:port`."""
    return name.startswith("ray://")


def allow(names: Iterable[str]) -> None:
    """Let names of the user's own be imported in this process: the user gave them, or trusts them.

    Args:
        names: Rows of a table among them need no leave.
    """
    _allowed.update(name for name in names if is_own(name))


def is_allowed(name: str) -> bool:
    """Say whether a name may be resolved: a row of a table, or one that the user vouched for."""
    return not is_own(name) or name in _allowed


def vouch(name: str, where: str, *, trust: bool) -> None:
    """Let a name that stands in a file, a folder or a database be imported, if the user trusts it.

    Args:
        name: A row of a table needs no leave.
        where: Where it stands, file and key.
        trust: Whether the user said that its code may run.

    Raises:
        UntrustedError: If it is code outside nas, not trusted, and not the user's own word.
    """
    if trust:
        allow([name])
    if not is_allowed(name):
        raise UntrustedError(
            f"{where}: '{name}' is code outside nas, which would be imported and run; if you know "
            "where it comes from, add --trust (in Python trust=True)"
        )


def resolve(table: Mapping[str, str], name: str, *, what: str) -> Any:
    """Return the class that a name stands for; its module is imported.

    Args:
        table: Import strings, `package.module:Name`, by name.
        name: A key of the table, or an import string of the user's own.
        what: What the table holds, for the message.

    Raises:
        NotFoundError: If there is no such row, module or class, or it is none of this kind.
        UntrustedError: If it is code of the user's own that nobody has vouched for.
    """
    if is_own(name):
        vouch(name, what, trust=False)
        found = import_own(name)
        if not isinstance(found, type) or not hasattr(found, MARKS[what]):
            raise NotFoundError(f"'{name}': no class of a {what}: it has no '{MARKS[what]}'")
        return found
    if name not in table:
        raise NotFoundError(
            f"unknown {what} '{name}'; known: {', '.join(table)}, or your own as "
            f"package.module:Name{nearest(name, table)}"
        )
    return import_row(table[name])


@cache
def import_row(path: str) -> Any:
    """Import one of our own import strings."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


@cache
def import_own(name: str) -> Any:
    """Import what `package.module:Name` names; the current folder is searched last.

    Raises:
        NotFoundError: If there is no such module or it has no such name. Other errors of the
            module itself are not caught.
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise NotFoundError(f"'{name}': expected package.module:Name")
    if os.getcwd() not in sys.path:  # noqa: PTH109  # sys.path holds text
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise NotFoundError(
            f"'{name}': no module '{error.name}' in {os.getcwd()} or the environment; "  # noqa: PTH109
            "start nas in the folder that holds it, or install it"
        ) from error
    except AttributeError as error:
        raise NotFoundError(f"'{name}': module '{module}' has no '{attribute}'") from error
