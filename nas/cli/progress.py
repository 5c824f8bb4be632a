"""What a search tells while it runs: redrawn lines on a terminal, plain lines elsewhere.

`listener_for` chooses. All are driver listeners and context managers; what they say is in
`standing`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from nas.cli import terminal
from nas.cli.region import Region
from nas.cli.standing import (
    Ended,
    ended_line,
    finals_line,
    frame,
    opening_line,
    under_way,
)
from nas.driver.events import CandidateEnded, Event, FinalsStarted, Note, SearchStarted
from nas.driver.standing import Board

# Without a terminal, a line of progress at most this often.
PLAIN_SECONDS = 15.0
# Between two frames: workers tell twice a second how far they are.
FRAME_SECONDS = 0.5


class ProgressView(Protocol):
    """A driver's listener that is entered before the search and left after it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __call__(self, event: Event) -> None:
        """Take an event."""
        ...


def listener_for(*, quiet: bool) -> ProgressView:
    """Return what shows a search's events here: nothing, redrawn lines or plain lines."""
    if quiet:
        return Silent()
    return LiveView() if terminal.live() else PlainView()


def lasting_line(event: Event, board: Board) -> str | None:
    """Return the line of an event that is to stay on the screen, None if it has none.

    Args:
        event: What happened.
        board: As it was before.
    """
    if isinstance(event, SearchStarted):
        return opening_line(event)
    if isinstance(event, FinalsStarted):
        return finals_line(event)
    if isinstance(event, Note):
        return terminal.visible(event.text)
    if not isinstance(event, CandidateEnded):
        return None
    ended = Ended.of_event(event, board.running[event.outcome.candidate_id])
    is_new = event.role == "search" and event.value is not None and event.best != board.best
    return ended_line(ended, is_best=is_new and event.value == event.best)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Take an event and show nothing."""


class PlainView:
    """Lines without escape codes: one for each candidate that ends, few in between."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = Board(clock)
        self._clock = clock
        self._written = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Take an event; write a line if it is worth one."""
        line = lasting_line(event, self._board)
        self._board.take(event)
        if line is None and self._clock() - self._written >= PLAIN_SECONDS:
            line = f"     {under_way(self._board.standing())}"
        if line is not None:
            self._written = self._clock()
            terminal.say(line)


class LiveView:
    """Lines of running candidates and a footer, redrawn below those that ended.

    They are drawn in a thread of their own, twice a second, whatever the driver does meanwhile.
    """

    def __init__(self) -> None:
        self._board = Board()
        self._region = Region(terminal.width)
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._draw_on, name="live view", daemon=True)

    def __enter__(self) -> Self:
        self._region.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()
        self._region.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Take an event; a line that is to stay goes above the redrawn ones."""
        with self._lock:
            line = lasting_line(event, self._board)
            self._board.take(event)
            if line is not None:
                self._region.above(terminal.harmless(line), self._frame())

    def _draw_on(self) -> None:
        while not self._left.wait(FRAME_SECONDS):
            with self._lock:
                self._region.draw(self._frame())

    def _frame(self) -> list[str]:
        return frame(self._board.standing(), terminal.width(), terminal.height())
