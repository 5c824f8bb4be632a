"""Where a search stands, kept up by its events: what a terminal draws and others look at.

`Board` takes the events and says where the search stands; `KeptStanding` stores that in the
study's database every few seconds, so that another process can show the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from nas.driver.events import (
    CandidateEnded,
    CandidateStarted,
    Event,
    FinalsStarted,
    Note,
    SearchEnded,
    SearchStarted,
)
from nas.records import Progress, ShapeValue, to_plain
from nas.store.patience import AwayError
from nas.store.rows import StudyRecord
from nas.store.store import Store

# Between two writes of a standing. On SQLite one takes about a millisecond, so that a search
# spends less than a thousandth of its driver's time on it.
STORE_SECONDS = 2.0
AWAY_SECONDS = 30.0  # after a database did not answer, which may itself have taken ten seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """One candidate under way."""

    candidate_id: str
    number: int
    role: str
    seed: int
    shape: Mapping[str, ShapeValue]
    params: float
    start: int  # tokens that this job went on from
    tokens: int  # that it has seen
    goal: int
    loss: float | None = None  # of training, the last that was told
    val_loss: float | None = None  # at the last rung that it has passed
    seconds: float = 0.0  # of this job, when it had seen so many tokens

    @property
    def share(self) -> float:
        """The part of its tokens that it has seen."""
        return self.tokens / self.goal if self.goal else 1.0

    @property
    def tokens_per_second(self) -> float | None:
        """Its pace, None before it has one."""
        done = self.tokens - self.start
        return done / self.seconds if done > 0 and self.seconds > 0 else None

    @property
    def eta(self) -> float | None:
        """Seconds to its end by its pace so far, None before it has one."""
        pace = self.tokens_per_second
        return None if pace is None else (self.goal - self.tokens) / pace


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a search stands.

    Attributes:
        done: Candidates of the search that are not in training.
        limit: How many there are to be, if there is a limit.
        slots: How many train at once.
        best: The first objective of the best one, once there is one.
        reference: The reference's, once known.
        elapsed: Seconds of searching, earlier runs included.
        remaining: Seconds to the end of the search, if that can be said.
        per_hour: Candidates that came to an end or a pause in this run, an hour.
        ended: Jobs that came back in this run.
        finals: Trainings of the finals; 0 before these.
        finals_done: Those that have ended.
        running: Candidates under way, by number.
    """

    done: int = 0
    limit: int | None = None
    slots: int = 0
    best: float | None = None
    reference: float | None = None
    elapsed: float = 0.0
    remaining: float | None = None
    per_hour: float | None = None
    ended: int = 0
    finals: int = 0
    finals_done: int = 0
    running: tuple[Running, ...] = ()

    def later(self, seconds: float) -> Standing:
        """Return the same standing so many seconds later: what is left is less."""
        left = None if self.remaining is None else max(0.0, self.remaining - seconds)
        return replace(self, elapsed=self.elapsed + seconds, remaining=left)


class Board:
    """Keeps up where a search stands.

    Args:
        clock: Seconds that only grow.

    Attributes:
        running: Candidates under way, by id.
        best: As in `Standing`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.running: dict[str, Running] = {}
        self.best: float | None = None
        self._standing = Standing()  # without what changes by itself
        self._search: SearchStarted | None = None
        self._clock = clock
        self._begun = clock()
        self._said: tuple[float, float] | None = None  # seconds left, and when that was said
        self._counted: set[str] = set()  # candidates of the search that came back in this run

    def take(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, SearchStarted):
            self._search, self._begun = event, self._clock()
            self._set(done=event.resumed, limit=event.max_candidates, slots=event.slots)
        elif isinstance(event, CandidateStarted):
            self.running[event.candidate_id] = _running(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, CandidateEnded):
            self._ended(event)
        elif isinstance(event, FinalsStarted):
            self._set(finals=event.trainings, finals_done=0)

    def standing(self) -> Standing:
        """Return where the search stands now."""
        here = self._clock() - self._begun
        before = self._search.elapsed if self._search else 0.0
        searching = bool(self._counted) and here > 0 and not self._standing.finals
        return replace(
            self._standing,
            elapsed=before + here,
            remaining=self._remaining(before + here),
            per_hour=3600 * len(self._counted) / here if searching else None,
            running=tuple(sorted(self.running.values(), key=lambda one: (one.number, one.seed))),
        )

    def _set(self, **changes: int | float | None) -> None:
        self._standing = replace(self._standing, **changes)  # type: ignore[arg-type]  # by name

    def _progress(self, event: Progress) -> None:
        known = self.running.get(event.candidate_id)
        if known is not None:
            # Fewer than it began with: its checkpoint was damaged, and it began anew.
            self.running[event.candidate_id] = replace(
                known,
                start=known.start if event.tokens >= known.start else 0,
                tokens=event.tokens,
                seconds=event.seconds,
                loss=event.train_loss,
                val_loss=event.val_loss,
            )

    def _ended(self, event: CandidateEnded) -> None:
        self.running.pop(event.outcome.candidate_id, None)
        self.best = event.best
        interrupted = event.outcome.state == "interrupted"
        if event.role == "search" and not interrupted:
            self._counted.add(event.outcome.candidate_id)
        if event.remaining is not None:
            self._said = event.remaining, self._clock()
        self._set(
            done=event.tried,
            best=event.best,
            reference=event.reference,
            ended=self._standing.ended + 1,
            finals_done=self._standing.finals_done
            + (self._standing.finals > 0 and event.role != "search" and not interrupted),
        )

    def _remaining(self, elapsed: float) -> float | None:
        if self._said is not None:
            seconds, then = self._said
            return max(0.0, seconds - (self._clock() - then))
        if self._search is not None and self._search.max_seconds is not None:
            return max(0.0, self._search.max_seconds - elapsed)
        return None


def _running(event: CandidateStarted) -> Running:
    return Running(
        candidate_id=event.candidate_id,
        number=event.number,
        role=event.role,
        seed=event.seed,
        shape=event.architecture.shape,
        params=event.columns.get("params", 0.0),
        start=event.tokens,
        tokens=event.tokens,
        goal=event.goal,
    )


class KeptStanding:
    """A listener that stores where the search stands, every few seconds at most.

    Args:
        store: The study's database, open; written in the driver's thread.
        record: The study.
        clock: Seconds that only grow.
    """

    def __init__(
        self, store: Store, record: StudyRecord, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._record, self._clock = store, record, clock
        self._board = Board(clock)
        self._next = clock()

    def __call__(self, event: Event) -> None:
        """Take an event in; store the standing if it is time.

        Raises:
            StoreError: If the database cannot be written, unless it is only away: whoever has
                something to store that counts waits for it.
        """
        self._board.take(event)
        # A note may come from the midst of a transaction, and after the end there is a summary.
        if isinstance(event, Note | SearchEnded) or self._clock() < self._next:
            return
        pause = STORE_SECONDS
        try:
            self._store.set_standing(self._record, to_plain(self._board.standing()))
        except AwayError:
            pause = AWAY_SECONDS
        self._next = self._clock() + pause
