"""The cells of the table of candidates, as text; the page sorts by the facts themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.wording import count, measure

LETTERS = 12  # of a candidate's id


def value_of(candidate: Mapping[str, Any], name: str) -> Any:
    """Return what a candidate has in a column, None for nothing."""
    if name in candidate:
        return candidate[name]
    return candidate["metrics"].get(name)


def cell(candidate: Mapping[str, Any], column: Mapping[str, str]) -> str:
    """Return a cell's text; empty for nothing."""
    value = value_of(candidate, column["name"])
    if value is None:
        return ""
    kind = column["kind"]
    if kind == "count":
        return count(value)
    if kind == "metric":
        return measure(value)
    if kind == "milliseconds" or isinstance(value, float):
        return f"{value:.1f}" if kind == "seconds" else f"{value:.4g}"
    return str(value)
