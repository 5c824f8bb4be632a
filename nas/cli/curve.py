"""A learning curve as text: the training loss as a line of dots, measurements marked."""

from __future__ import annotations

from collections.abc import Sequence

from nas.cli import terminal
from nas.cli.wording import count

HEIGHT = 10
LEFT = 9  # columns of the axis' numbers

Point = tuple[float, float]


def curve_lines(train: Sequence[Point], measured: Sequence[Point], width: int) -> list[str]:
    """Return the lines of a plot; none without a point.

    Args:
        train: Tokens and training loss.
        measured: Tokens and validation loss at the rungs.
        width: Columns of the terminal.
    """
    points = [*train, *measured]
    if not points:
        return []
    columns = min(72, max(20, width - LEFT - 3))
    grid = [[" "] * columns for _ in range(HEIGHT)]
    low, high = min(y for _, y in points), max(y for _, y in points)
    last = max(x for x, _ in points)
    dot, mark = terminal.symbol("•", "."), terminal.symbol("◆", "o")
    for sign, some in ((dot, train), (mark, measured)):
        for x, y in some:
            row = _place(high - y, high - low, HEIGHT)
            grid[row][_place(x, last, columns)] = sign
    axis = terminal.symbol("│", "|")
    labels = {0: f"{high:.3f}", HEIGHT - 1: f"{low:.3f}"}
    lines = [f"{labels.get(i, ''):>{LEFT}} {axis}{''.join(row)}" for i, row in enumerate(grid)]
    return [
        *(line.rstrip() for line in lines),
        f"{'':{LEFT}} {'0':<{columns // 2}}{count(last) + ' tokens':>{columns // 2 + 1}}",
        f"{'':{LEFT}} {dot} training loss  {mark} validation loss",
    ]


def _place(value: float, whole: float, cells: int) -> int:
    return round(value / whole * (cells - 1)) if whole > 0 else 0
