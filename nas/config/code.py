"""Which code outside nas a study file's content names, and whether it may be imported.

A study file is content, and so is what a database stored of one: it names code only where the user
trusts it. What the user names on the command line or in Python is the user's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.plugins import allow, is_own, vouch


def named_code(plain: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands in a study file's content for a class of the user's own, by key.

    A space that is named and not written out is asked for its family when it is loaded.
    """
    space, task = plain.get("space"), plain.get("task")
    found = {
        "space.family": space.get("family") if isinstance(space, Mapping) else None,
        "task.name": task.get("name") if isinstance(task, Mapping) else None,
        "strategy": plain.get("strategy"),
        **{f"logger[{place}]": name for place, name in enumerate(logger_names(plain))},
    }
    return {key: name for key, name in found.items() if isinstance(name, str) and is_own(name)}


def logger_names(plain: Mapping[str, Any]) -> list[Any]:
    """Return what a study file's content has for `logger`, one name or a list, as a list."""
    given = plain.get("logger")
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]


def check_code(plain: Mapping[str, Any], where: str, *, trust: bool) -> None:
    """Do nothing if all code that a study file's content names may be imported.

    Args:
        plain: The content of a study file, or what a database stored of it.
        where: Where it stands, for the message.
        trust: Whether the user said that its code may run.

    Raises:
        UntrustedError: If it names code that nobody has vouched for.
    """
    for key, name in named_code(plain).items():
        vouch(name, f"{where}: {key}", trust=trust)


def allow_given(overrides: Mapping[str, Any]) -> None:
    """Let the code be imported that the user names in settings of his own, by dotted key."""
    given: dict[str, Any] = {"space": {}, "task": {}}
    for key, value in overrides.items():
        section, dot, name = key.partition(".")
        if not dot:
            given[key] = value
        elif isinstance(given.get(section), dict):
            given[section] = {**given[section], name: value}
    allow(named_code(given).values())
