"""Read a log of who took what and when, as a history of items for each user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.labels import in_order
from nas.data.tables import read_rows
from nas.errors import DataError

LEAST_EVENTS = 3  # one to learn from, one for val, one for test


@dataclass(frozen=True, kw_only=True, slots=True)
class Interactions:
    """Histories of users over numbered items.

    Attributes:
        users: Names of the users kept, in the order of `sequences`.
        items: Names of the items by number.
        sequences: The items of each user in order of time.
        dropped: Users left out because they have fewer than `LEAST_EVENTS` events.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    sequences: tuple[NDArray[np.int64], ...]
    dropped: int


def read_interactions(
    path: Path, user: Sequence[str], item: Sequence[str], time: Sequence[str]
) -> Interactions:
    """Read a log from a table.

    Args:
        path: A `.csv`, `.tsv` or `.jsonl` file (see `tables.read_rows`).
        user: What the column of users may be called.
        item: What the column of items may be called.
        time: What the column of times may be called; numbers or ISO 8601.

    Raises:
        DataError: If the table cannot be read, a time is none, or a user or an item has no name.
    """
    rows = read_rows(path, {"user": user, "item": item, "time": time})
    try:
        return interactions_of(rows)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def interactions_of(rows: Mapping[str, Sequence[str]]) -> Interactions:
    """Return the histories in columns `user`, `item` and `time`; equal times keep their order.

    Raises:
        DataError: If a time is none, or a user or an item has no name.
    """
    histories = histories_of(rows)
    names = in_order(set(rows["item"]))
    numbers = {name: number for number, name in enumerate(names)}
    kept = {user: found for user, found in histories.items() if len(found) >= LEAST_EVENTS}
    return Interactions(
        users=tuple(kept),
        items=names,
        sequences=tuple(
            np.array([numbers[item] for item in found], dtype=np.int64) for found in kept.values()
        ),
        dropped=len(histories) - len(kept),
    )


def histories_of(rows: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return each user's items in order of time; equal times keep their order.

    Raises:
        DataError: If a time is none, or a user or an item has no name.
    """
    times = [_seconds(text, number) for number, text in enumerate(rows["time"], start=1)]
    for column in ("user", "item"):
        _check_named(rows[column], column)
    histories: dict[str, list[tuple[float, str]]] = {}
    for user, item, time in zip(rows["user"], rows["item"], times, strict=True):
        histories.setdefault(user, []).append((time, item))
    return {user: _in_order(events) for user, events in histories.items()}


def _check_named(names: Sequence[str], column: str) -> None:
    number = next((number for number, name in enumerate(names, start=1) if not name.strip()), None)
    if number is not None:
        raise DataError(f"event {number}: {column}: is empty; leave the event out")


def _in_order(events: list[tuple[float, str]]) -> list[str]:
    return [item for _, item in sorted(events, key=lambda event: event[0])]


def _seconds(text: str, number: int) -> float:
    try:
        if math.isfinite(seconds := float(text)):
            return seconds
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"event {number}: time: got '{text}', expected a number or a date such as "
            "2024-05-31T12:00:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
