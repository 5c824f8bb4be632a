"""Lines at the bottom of a terminal that are redrawn in place; others scroll by above them.

A frame is one write, which begins by going up over the lines of the last one and leaves nothing
blank in between, so that nothing flickers. Lines that a narrower window has broken are counted as
the rows that they take there now.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from nas.cli.terminal import harmless

UP, TO_LINE_END, TO_SCREEN_END = "\x1b[{}A", "\x1b[K", "\x1b[J"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
_STYLE = re.compile("\x1b\\[[0-9;]*m")


class Region:
    """The lines; a context manager, that leaves none of them behind.

    What is written to standard error meanwhile goes above them.

    Args:
        columns: Says how wide the terminal is now.
        stream: What is drawn on, standard output if left out.
    """

    def __init__(self, columns: Callable[[], int], stream: TextIO | None = None) -> None:
        self._columns = columns
        self._stream = stream or sys.stdout
        self._lengths: list[int] = []  # characters of the lines that are drawn
        self._drawn: tuple[int, list[str]] | None = None
        self._lock = threading.RLock()
        self._errors: _Above | None = None

    def __enter__(self) -> Self:
        self._write(HIDE)
        if sys.stderr.isatty():
            self._errors = _Above(self, sys.stderr)
            sys.stderr = self._errors
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._errors is not None:
            sys.stderr = self._errors.let_go()
        with self._lock:
            self._write(self._to_top() + TO_SCREEN_END + SHOW)
            self._lengths, self._drawn = [], None

    def draw(self, lines: Sequence[str]) -> None:
        """Draw lines in place of those before; nothing is written if they are the same.

        Args:
            lines: Each shorter than the terminal is wide, and fewer than it has rows.
        """
        with self._lock:
            now = self._columns(), list(lines)
            if now == self._drawn:
                return
            self._write(self._to_top() + self._frame(lines) + TO_SCREEN_END)
            self._drawn = now

    def above(self, text: str, lines: Sequence[str] | None = None) -> None:
        """Write a text, of any length, above the lines, or above new ones in their place."""
        with self._lock:
            if lines is None:
                lines = self._drawn[1] if self._drawn else []
            self._drawn = self._columns(), list(lines)
            self._write(self._to_top() + TO_SCREEN_END + text + "\n" + self._frame(lines))

    def _frame(self, lines: Sequence[str]) -> str:
        self._lengths = [len(_STYLE.sub("", line)) for line in lines]
        return "\n".join(line + TO_LINE_END for line in lines)

    def _to_top(self) -> str:
        width = max(1, self._columns())
        rows = sum(max(1, -(-length // width)) for length in self._lengths)
        return "\r" + (UP.format(rows - 1) if rows > 1 else "")

    def _write(self, text: str) -> None:
        """Write to the terminal; one that is gone is no reason to lose what is trained."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


class _Above(io.TextIOBase):
    """Standard error while lines are drawn: what comes in is written above them, line by line."""

    def __init__(self, region: Region, before: TextIO) -> None:
        self._region, self._before, self._rest = region, before, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._region.above(harmless(line))
        return len(text)

    def isatty(self) -> bool:
        return self._before.isatty()

    def fileno(self) -> int:
        return self._before.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        return self._before.encoding

    def let_go(self) -> TextIO:
        """Return the stream before, with what had no end of line written to it."""
        if self._rest:
            self._region.above(harmless(self._rest))
        return self._before
