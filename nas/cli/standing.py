"""Where a search stands, in lines: those that are redrawn, and those that stay.

A line that is redrawn is cut to the terminal's width, and there are never more of them than rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from nas.cli import terminal
from nas.cli.wording import budget_words
from nas.records import FAILED_STATES
from nas.wording import count, duration, measure, several, shape_words

if TYPE_CHECKING:
    from nas.driver.events import CandidateEnded, FinalsStarted, SearchStarted
    from nas.driver.standing import Running, Standing
    from nas.store.rows import CandidateRow

SHAPE = 24  # characters of a shape, so that lines stand in columns
LEAST_SHAPE = 10
GAP = "  "
BARS = (8, 30)  # characters of a bar, by the room that there is
WIDE = 110  # columns from which on units are written out
FEWEST_ROWS = 3  # in which something can be drawn at all

STATE_WORDS = {
    "diverged": "diverged",
    "oom": "ran out of memory",
    "timeout": "took too long",
    "failed": "failed",
    "interrupted": "interrupted; saved",
    "paused": "paused",
}


def frame(standing: Standing, width: int, height: int) -> list[str]:
    """Return what is redrawn: a line for each running candidate, and one for the search.

    Args:
        standing: Where the search stands.
        width: Columns of the terminal; each line is shorter.
        height: Its rows; there are fewer lines.
    """
    room = max(FEWEST_ROWS, height - 1) - 1  # without the last line
    running = list(standing.running)
    hidden = len(running) - room + 1 if len(running) > room else 0
    lines = [running_line(one, width) for one in running[: len(running) - hidden]]
    if hidden:
        lines.append(_cut(f"     and {hidden} more", width - 1))
    return [*lines, footer(standing, width)]


def running_line(one: Running, width: int) -> str:
    """Return how far a candidate has come: bar, share, losses, pace and time to its end.

    Where there is little room, these are left out in this order: the validation loss of its last
    rung, pace, time and training loss, then the bar.
    """
    number, shape, params = candidate_parts(one)
    cells = _cells(one, wide=width >= WIDE)
    bar_least, bar_most = BARS
    whole = min(SHAPE, len(shape))
    for name, least in (("val", whole), ("pace", whole), ("eta", LEAST_SHAPE), ("loss", 0)):
        free = _free(width, number, params, *cells.values())
        if free >= least + bar_least + len(GAP):
            break
        del cells[name]
    free = _free(width, number, params, *cells.values())
    shape_room = max(LEAST_SHAPE, min(max(SHAPE, len(shape)), free - bar_least - len(GAP)))
    first = f"{number} {_cut(shape, shape_room):<{shape_room}} {params}"
    filled, empty = _bar(one.share, min(bar_most, free - shape_room - len(GAP)))
    bar = [filled + empty] if len(filled + empty) >= bar_least else []
    plain = GAP.join([first, *bar, *cells.values()])
    if len(plain) >= width:
        return _cut(plain, width - 1)
    coloured = [terminal.accent(filled) + empty] if bar else []
    return GAP.join([first, *coloured, *cells.values()]).rstrip()


def _cells(one: Running, *, wide: bool) -> dict[str, str]:
    per_second, left = (" tokens/s", " left") if wide else ("/s", "")
    pace = "" if one.tokens_per_second is None else count(one.tokens_per_second) + per_second
    eta = "" if one.eta is None else duration(one.eta) + left
    return {
        "share": f"{one.share:>4.0%}",
        "loss": f"{'' if one.loss is None else f'{one.loss:.3f}':>6}",
        "val": f"{'' if one.val_loss is None else f'val {one.val_loss:.3f}':>10}",
        "pace": f"{pace:>{4 + len(per_second)}}",
        "eta": f"{eta:>{10 + len(left)}}",
    }


def _free(width: int, *cells: str) -> int:
    """Return what other cells leave to shape and bar of a line that is shorter than `width`."""
    return width - 1 - sum(len(cell) for cell in cells) - len(GAP) * (len(cells) - 1)


def _bar(share: float, room: int) -> tuple[str, str]:
    """Return the two parts of a bar of so many characters."""
    full, empty = terminal.symbol("━", "#"), terminal.symbol("─", ".")
    filled = max(0, min(room, round(share * room)))
    return full * filled, empty * (room - filled)


def _cut(text: str, room: int) -> str:
    """Return a text of at most so many characters; where its end is lost, it says so."""
    return text if len(text) <= room else text[: max(0, room - 1)] + terminal.symbol("…", "~")


def footer(standing: Standing, width: int) -> str:
    """Return the line below the running candidates: counts, best and reference, time left."""
    parts = [_counted(standing)]
    if standing.best is not None:
        reference = standing.reference
        beside = "" if reference is None else f" (reference {measure(reference)})"
        parts.append(f"best {measure(standing.best)}{beside}")
    if standing.remaining is not None:
        parts.append(f"{duration(standing.remaining)} left")
    if standing.per_hour is not None:
        parts.append(f"{count(standing.per_hour)} candidates/h")
    while len(parts) > 1 and len(", ".join(parts)) >= width:
        parts.pop()
    return _cut(", ".join(parts), width - 1)


def _counted(standing: Standing) -> str:
    if standing.finals:
        return f"finals {standing.finals_done}/{standing.finals}"
    if not standing.slots:  # before a search, or a training beside it
        return "in training" if standing.running else "getting ready"
    limit = standing.limit
    return f"{standing.done} done" if limit is None else f"{standing.done}/{limit} done"


def under_way(standing: Standing) -> str:
    """Return footer and shares of what runs in one line, for where nothing is redrawn."""
    words = [f"#{one.number} {one.share:.0%}" for one in standing.running]
    running = f"; running {', '.join(words)}" if words else ""
    return f"{footer(standing, 10**6)}{running}"


def candidate_parts(one: Running | Ended) -> tuple[str, str, str]:
    """Return number, shape and parameters of a candidate; a fresh seed is named."""
    number = f"#{one.number}" if one.number >= 0 else one.role
    if one.role != "search":
        number += f" seed {one.seed}"
    return f"{number:<4}", shape_words(one.shape), f"{count(one.params):>5}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a job of a candidate ended.

    Attributes:
        value: The first objective at the full budget, or where it waits.
        tokens: Of the rung where it waits.
        latency_ms: If it was measured.
        seconds: That it took.
    """

    number: int
    role: str
    seed: int
    shape: Mapping[str, Any]
    params: float
    state: str
    value: float | None
    tokens: int
    latency_ms: float | None
    seconds: float
    error: str

    @classmethod
    def of_event(cls, event: CandidateEnded, running: Running) -> Self:
        """Return it by a driver's event, of a job that was under way."""
        outcome = event.outcome
        metrics = outcome.evaluations[-1].metrics.get("", {}) if outcome.evaluations else {}
        paused = event.paused_at is not None
        return cls(
            number=running.number,
            role=running.role,
            seed=running.seed,
            shape=running.shape,
            params=running.params,
            state=outcome.state,
            value=event.paused_at if paused else event.value,
            tokens=running.goal,
            latency_ms=metrics.get("latency_ms"),
            seconds=outcome.timings.get("run", 0.0),
            error=outcome.error,
        )

    @classmethod
    def of_row(cls, row: CandidateRow, objective: str) -> Self:
        """Return it by a stored candidate that is not in training."""
        from nas.store.ranking import number_of

        return cls(
            number=row.number,
            role=row.role,
            seed=row.seed,
            shape=row.shape,
            params=row.params or 0,
            state=row.state,
            value=number_of(row, objective) if row.state in ("complete", "paused") else None,
            tokens=row.tokens,
            latency_ms=row.metrics.get("latency_ms"),
            seconds=row.timings.get("run", 0.0),
            error=row.error,
        )


def ended_line(one: Ended, *, is_best: bool) -> str:
    """Return how a candidate ended, in one line of any length."""
    number, shape, params = candidate_parts(one)
    line = f"{number} {shape:<{SHAPE}} {params}"
    if one.state == "paused" and one.value is not None:
        where = f"{measure(one.value)} at {count(one.tokens)} tokens"
        return terminal.faint(f"{line}  {where}, paused")
    if one.value is None:
        words = failure_words(one.state, one.error)
        return f"{line}  {terminal.bad(words) if one.state in FAILED_STATES else words}"
    line += f"  {measure(one.value)}"
    if one.latency_ms is not None:
        line += f"  {one.latency_ms:.3g} ms"
    line += f"  {duration(one.seconds):>6}"
    return f"{line}  {terminal.good('best')}" if is_best else line


def failure_words(state: str, error: str) -> str:
    """Return in words why a job has no result."""
    words = STATE_WORDS.get(state, state)
    text = terminal.visible(" ".join(error.split()))
    return f"{words}: {text}" if text else words


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


def finals_line(event: FinalsStarted) -> str:
    """Return how the finals begin."""
    return (
        f"{event.reason}: the search ends; now the finals, "
        f"{several(event.trainings, 'training')} from fresh seeds of "
        f"{several(event.architectures, 'architecture')}"
    )
