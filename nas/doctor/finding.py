"""One line of what was found."""

from __future__ import annotations

from dataclasses import dataclass

OK = "ok"
NOTE = "note"  # works, and could do better
MISSING = "missing"  # optional, and not there
BAD = "bad"  # no search can run
STATES = (OK, NOTE, MISSING, BAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was looked at, how it stands, and what to do.

    Attributes:
        name: What was looked at.
        state: One of `STATES`.
        found: What is there.
        advice: What to do about it; empty: nothing.
    """

    name: str
    state: str
    found: str
    advice: str = ""
