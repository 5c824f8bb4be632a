"""Logs of users, items and times become histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.data.interactions import interactions_of, read_interactions
from nas.errors import DataError


def log(*events: tuple[str, str, str]) -> dict[str, list[str]]:
    users, items, times = zip(*events, strict=True)
    return {"user": list(users), "item": list(items), "time": list(times)}


def test_histories_are_in_order_of_time_and_ties_in_order_of_the_log() -> None:
    found = interactions_of(
        log(("u", "c", "3"), ("u", "a", "1"), ("v", "a", "1"), ("u", "b", "1"), ("v", "c", "0"))
    )
    assert found.items == ("a", "b", "c")
    assert found.users == ("u",)
    assert found.sequences[0].tolist() == [0, 1, 2]
    assert found.dropped == 1


def test_items_that_are_numbers_are_ordered_as_numbers() -> None:
    found = interactions_of(log(("u", "10", "1"), ("u", "9", "2"), ("u", "10", "3")))
    assert found.items == ("9", "10")
    assert found.sequences[0].tolist() == [1, 0, 1]


def test_times_may_be_dates_with_and_without_a_zone() -> None:
    found = interactions_of(
        log(
            ("u", "b", "2024-05-31T12:00:00+02:00"),
            ("u", "a", "2024-05-31T09:00:00"),
            ("u", "c", "2024-06-01"),
        )
    )
    assert found.sequences[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (("u", "a", "nan"), "event 2: time: got 'nan'"),
        (("u", "a", "inf"), "event 2: time: got 'inf'"),
        (("", "a", "1"), "event 2: user: is empty"),
        (("u", " ", "1"), "event 2: item: is empty"),
    ],
)
def test_an_event_without_user_item_or_time_is_refused(event, message) -> None:
    with pytest.raises(DataError, match=message):
        interactions_of(log(("u", "b", "1"), event, ("u", "c", "3")))


def test_items_may_be_longer_than_python_counts() -> None:
    found = interactions_of(log(("u", "9" * 5000, "1"), ("u", "2", "2"), ("u", "3", "3")))
    assert found.items == ("2", "3", "9" * 5000)


def test_a_time_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("userId,movieId,timestamp\n1,2,3\n1,2,soon\n")
    columns = {"user": ("userId",), "item": ("movieId",), "time": ("timestamp",)}
    with pytest.raises(DataError, match=r"log\.csv: event 2: time: got 'soon'"):
        read_interactions(path, **columns)
