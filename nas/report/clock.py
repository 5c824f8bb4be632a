"""The time of a search: seconds in which it was at work, without those between two runs of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta

from nas.store.rows import CandidateRow

# The parts of a candidate's time that follow one another; `train` is a part of `run`.
PARTS = ("build", "run", "latency", "save")
# A gap no longer than this belongs to the search: a job that is prepared, a slow disk.
JOINED = timedelta(seconds=60)

Span = tuple[datetime, datetime]


def busy_seconds(row: CandidateRow) -> float:
    """Return how long workers were at a candidate."""
    return sum(row.timings.get(part, 0.0) for part in PARTS)


class SearchClock:
    """Turns a moment into seconds of searching.

    A search may be left for a night and go on. What a database knows of it are the moments at
    which candidates began and ended and how long workers were at each: work went on from a
    candidate's beginning, and up to its end, for that long at least. The rest is left out, but
    for short gaps.

    Args:
        rows: The study's candidates.
    """

    def __init__(self, rows: Iterable[CandidateRow]) -> None:
        self._spans = _joined(span for row in rows for span in _spans(row))
        self._starts = [begin for begin, _ in self._spans]
        self._before = [0.0]
        for begin, end in self._spans:
            self._before.append(self._before[-1] + (end - begin).total_seconds())

    @property
    def total(self) -> float:
        """Seconds of the whole search."""
        return self._before[-1]

    def __call__(self, moment: datetime) -> float:
        """Return the seconds of searching up to a moment."""
        at = bisect_right(self._starts, moment) - 1
        if at < 0:
            return 0.0
        begin, end = self._spans[at]
        return self._before[at] + (min(moment, end) - begin).total_seconds()


def _spans(row: CandidateRow) -> Iterable[Span]:
    busy = timedelta(seconds=busy_seconds(row))
    if row.finished_at is None:
        yield row.created_at, row.created_at + busy
        return
    middle = row.finished_at - busy
    if middle - row.created_at <= JOINED:
        yield row.created_at, row.finished_at
    else:
        yield row.created_at, row.created_at + min(busy, JOINED)
        yield middle, row.finished_at


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that touch or nearly do as one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin - found[-1][1] <= JOINED:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found
