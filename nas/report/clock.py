"""When things happened in a search, in seconds from its first candidate's, breaks left out.

The database has the time of day at which a candidate was proposed and ended. A search that was
stopped and went on a day later did nothing in between, and a plot against time must not show that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise

from nas.records import BESIDE_ROLES
from nas.store.rows import CandidateRow

# Between two events of a search that works there is at most about one training. Much more than the
# longest of them, and a minute for what else there is to do, is a break.
LONGEST, MORE_SECONDS = 2.0, 60.0

BUSY = ("build", "run", "latency", "save")  # parts of a candidate's time; `run` is all of training


def busy_seconds(timings: Mapping[str, float]) -> float:
    """Return the seconds that a worker spent on a candidate."""
    return sum(timings.get(name, 0.0) for name in BUSY)


class Clock:
    """The time of one search.

    Args:
        made: When the study was made, for one without candidates.
        rows: Its candidates; what was trained beside the search is not of its time.

    Attributes:
        breaks: How many breaks were left out.
        seconds: The time from the first candidate's beginning to the last event.
        last: When the last event was.
    """

    def __init__(self, made: datetime, rows: Iterable[CandidateRow]) -> None:
        own = [row for row in rows if row.role not in BESIDE_ROLES]
        began = min((row.created_at for row in own), default=made)
        times = {row.created_at for row in own} | {row.finished_at or began for row in own}
        moments = sorted({began, *times})
        longest = max((busy_seconds(row.timings) for row in own), default=0.0)
        self.breaks, self.seconds, self.last = 0, 0.0, moments[-1]
        self._at = {moments[0]: 0.0}
        for before, now in pairwise(moments):
            gap = (now - before).total_seconds()
            if gap > LONGEST * longest + MORE_SECONDS:
                self.breaks += 1
                gap = longest
            self.seconds += gap
            self._at[now] = self.seconds
        self._shift = -self._at.get(began, 0.0)  # a clock that was set back may put rows first

    def at(self, moment: datetime | None) -> float | None:
        """Return the seconds to a moment; None for none, or one that is not of the search."""
        found = None if moment is None else self._at.get(moment)
        return None if found is None else max(0.0, found + self._shift)
