"""What a search tells while it runs: redrawn lines on a terminal, plain lines elsewhere.

`listener_for` chooses. Both are driver listeners and context managers; a candidate that ended is
one line in either, from `EndedLines`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from nas.cli import terminal
from nas.cli.wording import budget_words, count, duration, measure, several, shape_words
from nas.driver.events import (
    CandidateEnded,
    CandidateStarted,
    Event,
    FinalsStarted,
    SearchStarted,
)
from nas.records import FAILED_STATES, Outcome, Progress

if TYPE_CHECKING:
    from rich.text import Text

# Without a terminal, a line of progress at most this often.
PLAIN_SECONDS = 15.0
BAR = 12  # characters of a bar

STATE_WORDS = {
    "diverged": "diverged",
    "oom": "ran out of memory",
    "timeout": "took too long",
    "failed": "failed",
    "interrupted": "interrupted; saved",
    "paused": "paused",
}


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


@dataclass(slots=True)
class Running:
    """One candidate under way."""

    started: CandidateStarted
    tokens: int
    loss: float | None = None
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """The part of its tokens that it has seen."""
        return self.tokens / self.started.goal if self.started.goal else 1.0

    @property
    def eta(self) -> float | None:
        """Seconds to its end by its pace so far, None before it has one."""
        done = self.tokens - self.started.tokens
        if done <= 0:
            return None
        return self.seconds * (self.started.goal - self.tokens) / done


class Board:
    """Where a search stands, by its events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.search: SearchStarted | None = None
        self.running: dict[str, Running] = {}
        self.done = 0
        self.best: float | None = None
        self.reference: float | None = None
        self.finals: FinalsStarted | None = None
        self.finals_done = 0
        self._clock = clock
        self._begun = clock()
        self._remaining: tuple[float, float] | None = None  # seconds, and when that was said

    def take(self, event: Event) -> str | None:
        """Take an event and return the line that is to stay on the screen, if there is one."""
        if isinstance(event, SearchStarted):
            self.search, self.done = event, event.resumed
            return opening_line(event)
        if isinstance(event, CandidateStarted):
            self.running[event.candidate_id] = Running(event, event.tokens)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, CandidateEnded):
            return self._ended(event)
        elif isinstance(event, FinalsStarted):
            self.finals = event
            return (
                f"{event.reason}: the search ends; now the finals, "
                f"{several(event.trainings, 'training')} from fresh seeds of "
                f"{several(event.architectures, 'architecture')}"
            )
        else:
            return terminal.visible(event.text)
        return None

    def _progress(self, event: Progress) -> None:
        running = self.running.get(event.candidate_id)
        if running is not None:
            running.tokens, running.seconds = event.tokens, event.seconds
            running.loss = event.train_loss

    def _ended(self, event: CandidateEnded) -> str:
        running = self.running.pop(event.outcome.candidate_id)
        improved = event.role == "search" and event.value is not None and event.best != self.best
        is_best = improved and event.value == event.best
        self.best, self.reference = event.best, event.reference
        if event.remaining is not None:
            self._remaining = (event.remaining, self._clock())
        self.done = event.tried
        if event.outcome.state != "interrupted":
            self.finals_done += event.role != "search"
        return ended_line(event, running.started, is_best=is_best)

    @property
    def elapsed(self) -> float:
        """Seconds since the search began, earlier runs included."""
        before = self.search.elapsed if self.search else 0.0
        return before + self._clock() - self._begun

    @property
    def remaining(self) -> float | None:
        """Seconds to the end of the search, None if unknown."""
        if self._remaining is not None:
            seconds, then = self._remaining
            return max(0.0, seconds - (self._clock() - then))
        if self.search is not None and self.search.max_seconds is not None:
            return max(0.0, self.search.max_seconds - self.elapsed)
        return None

    def footer(self) -> str:
        """Return the line below the running candidates: counts, best and reference, time left."""
        parts = [self._counted()]
        if self.best is not None:
            reference = "" if self.reference is None else f" (reference {measure(self.reference)})"
            parts.append(f"best {measure(self.best)}{reference}")
        remaining = self.remaining
        if remaining is not None:
            parts.append(f"{duration(remaining)} left")
        return ", ".join(parts)

    def _counted(self) -> str:
        if self.finals is not None:
            return f"finals {self.finals_done}/{self.finals.trainings}"
        if self.search is None:
            return "getting ready"
        limit = self.search.max_candidates
        return f"{self.done} done" if limit is None else f"{self.done}/{limit} done"


def opening_line(event: SearchStarted) -> str:
    """Return how a search begins: workers, arithmetic, budget and limits."""
    n = event.numerics
    limits = []
    if event.max_candidates is not None:
        limits.append(several(event.max_candidates, "candidate"))
    if event.max_seconds is not None:
        limits.append(duration(event.max_seconds))
    begun = f"; goes on from {several(event.resumed, 'candidate')}" if event.resumed else ""
    return (
        f"{several(event.slots, 'worker')} on {n.device} ({n.precision}, {n.attention} attention, "
        f"{several(n.threads, 'thread')} each); "
        f"{budget_words(event.budget, event.rungs[-1])} a candidate; "
        f"until {' or '.join(limits) or 'every shape was tried'}{begun}"
    )


def ended_line(event: CandidateEnded, started: CandidateStarted, *, is_best: bool) -> str:
    """Return how a candidate ended, in one line."""
    line = candidate_words(started)
    if event.paused_at is not None:
        where = f"{measure(event.paused_at)} at {count(started.goal)} tokens"
        return terminal.faint(f"{line}  {where}, paused")
    if event.value is None:
        words = failure_words(event.outcome)
        return f"{line}  {terminal.bad(words) if event.outcome.state in FAILED_STATES else words}"
    line += f"  {measure(event.value)}{latency_words(event.outcome)}"
    line += f"  {duration(event.outcome.timings.get('run', 0.0)):>6}"
    return f"{line}  {terminal.good('best')}" if is_best else line


def candidate_words(started: CandidateStarted) -> str:
    """Return number, shape and parameters in columns; a fresh seed is named."""
    number = f"#{started.number}" if started.number >= 0 else started.role
    if started.role != "search":
        number += f" seed {started.seed}"
    shape = shape_words(started.architecture.shape)
    return f"{number:<4} {shape:<24} {count(started.columns.get('params', 0)):>5}"


def latency_words(outcome: Outcome) -> str:
    """Return a latency with two blanks before it, nothing where none was measured."""
    metrics = outcome.evaluations[-1].metrics.get("", {}) if outcome.evaluations else {}
    return f"  {metrics['latency_ms']:.3g} ms" if "latency_ms" in metrics else ""


def failure_words(outcome: Outcome) -> str:
    """Return in words why a job has no result."""
    words = STATE_WORDS.get(outcome.state, outcome.state)
    error = terminal.visible(" ".join(outcome.error.split()))
    return f"{words}: {error}" if error else words


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
        line = self._board.take(event)
        if line is None and self._clock() - self._written >= PLAIN_SECONDS:
            line = f"     {self._board.footer()}{self._under_way()}"
        if line is not None:
            self._written = self._clock()
            terminal.say(line)

    def _under_way(self) -> str:
        running = self._board.running.values()
        words = [f"#{one.started.number} {one.share:.0%}" for one in running]
        return f"; running {', '.join(words)}" if words else ""


class LiveView:
    """Lines of running candidates and a footer, redrawn below those that ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._board = Board()
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,  # else nobody could ask it for its encoding
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take an event; a line that is to stay goes above the redrawn ones."""
        from rich.text import Text

        line = self._board.take(event)
        if line is not None:
            self._console.print(Text.from_ansi(line), soft_wrap=True)

    def _render(self) -> Any:
        from rich.text import Text

        running = sorted(self._board.running.values(), key=lambda one: one.started.number)
        lines = [running_line(one) for one in running]
        return Text("\n").join(map(self._cut, [*lines, self._board.footer()]))

    def _cut(self, line: str) -> Text:
        from rich.text import Text

        return Text(line[: self._console.width - 1], no_wrap=True)


def running_line(running: Running) -> str:
    """Return how far a candidate has come: bar, share, training loss, time to its end."""
    full, empty = terminal.symbol("━", "#"), terminal.symbol("─", ".")
    filled = min(BAR, round(running.share * BAR))
    loss = "" if running.loss is None else f"  {running.loss:.3f}"
    eta = "" if running.eta is None else f"  {duration(running.eta)}"
    bar = full * filled + empty * (BAR - filled)
    return f"{candidate_words(running.started)}  {bar} {running.share:>4.0%}{loss}{eta}"
