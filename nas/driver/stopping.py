"""Ctrl-C, SIGTERM and a closed terminal: the first asks the search to save and leave.

The second leaves at once, whatever is under way: transactions are rolled back, a folder that is
half written keeps its temporary name, and the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

Handler = Callable[[int, FrameType | None], Any]


class Stop:
    """Turns interrupts into a question that the driver asks; a context manager.

    Signals reach only the main thread: elsewhere this never asks to stop.

    Args:
        at_once: Whether the first one leaves at once too, since nothing is to be saved yet.

    Attributes:
        asked: Whether to save and leave.
        at_once: As given; to be cleared as soon as there is something to save.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.asked = False
        self.at_once = at_once
        self._previous: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handle(signal.SIGINT, self._take)
            self._handle(signal.SIGTERM, self._take)
            # Whoever starts with `nohup` has it ignored and wants to go on.
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                self._terminals = _terminals()
                self._handle(signal.SIGHUP, self._hang_up)
        return self

    def _handle(self, number: int, handler: Handler) -> None:
        self._previous[number] = signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            # None: of a handler that was not set from Python and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked or self.at_once:
            raise KeyboardInterrupt
        self.asked = True

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        """Save and leave, with nobody to tell; a terminal and its shell may each send this."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for terminal in self._terminals:
            os.dup2(nowhere, terminal)
        os.close(nowhere)
        if self.at_once:
            raise KeyboardInterrupt
        self.asked = True


def _terminals() -> list[int]:
    """Return which of the standard streams are a terminal now: one that is gone does not say."""
    return [number for number in (1, 2) if os.isatty(number)]
