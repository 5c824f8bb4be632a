"""Rows in the format that was asked for: a table for people, JSON or CSV for programs.

A table leaves out columns from the right until it fits the terminal; a long text may lose its
end there, a number never does.
JSON and CSV hold every column, and numbers to their last digit.
"""

from __future__ import annotations

import csv
import json
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

import typer

from nas.cli import terminal
from nas.cli.wording import cell
from nas.errors import InputError, nearest

Row = Mapping[str, Any]
GAP = "  "
PROSE = frozenset({"description", "error"})  # columns that may lose their end
WRAPPED = "description"  # one that keeps it, in several lines, where there is room
WRAP_ROOM = 24  # characters
CLIPPED = 16  # characters that such a text keeps at least
NUMBERS = frozenset({"rank", "score"})  # columns of streams that stand to the right
TITLES = {"number": "#", "candidate_id": "candidate", "flops_per_token": "flops/token"}


class Format(StrEnum):
    """How rows come out."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", help="A table to read, or exact json or csv.")
]


def split_columns(text: str | None, known: Collection[str]) -> list[str] | None:
    """Return the names in `--columns a,b`, None if it was not given.

    Raises:
        InputError: If a column is unknown.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise InputError(
                f"--columns: unknown column '{name}'{nearest(name, known)}; "
                f"there are: {', '.join(sorted(known))}"
            )
    return names


def show_rows(
    rows: Sequence[Row],
    form: Format,
    columns: Sequence[str],
    *,
    chosen: Sequence[str] | None = None,
) -> None:
    """Write rows to standard output.

    Args:
        rows: Values by column.
        form: The format.
        columns: What a table shows as far as there is room, the most important first.
        chosen: What the user asked for, shown whatever the room; None: all but in a table.
    """
    if form is Format.TABLE:
        show_table(rows, chosen or columns, fit=chosen is None)
    elif form is Format.JSON:
        show_json([_only(row, chosen) for row in rows])
    else:
        _show_csv(rows, chosen or list(dict.fromkeys(name for row in rows for name in row)))


def show_json(plain: Any) -> None:
    """Write plain content as indented JSON."""
    terminal.say(json.dumps(plain, indent=2, default=_as_json, allow_nan=False))


def show_table(rows: Sequence[Row], columns: Sequence[str], *, fit: bool = True) -> None:
    """Write a table with as many of the columns as fit, at least one."""
    blocks = [_block(name, [row.get(name) for row in rows]) for name in dict.fromkeys(columns)]
    lines = _lines(blocks, terminal.width() if fit else None)
    terminal.heading(lines[0])
    if lines[1:]:
        terminal.say("\n".join(lines[1:]))


def show_pairs(pairs: Mapping[str, Any]) -> None:
    """Write names and values, a line each; empty values are left out."""
    shown = {
        terminal.visible(name): terminal.visible(str(value))
        for name, value in pairs.items()
        if value not in (None, "")
    }
    widest = max(map(len, shown), default=0)
    room = max(20, terminal.width() - widest - len(GAP))
    for name, value in shown.items():
        lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
        terminal.say(f"{name:{widest}}{GAP}{lines[0]}")
        for line in lines[1:]:
            terminal.say(f"{'':{widest}}{GAP}{line}")


class RowStream:
    """Rows that are written part by part and read as if `show_rows` had written all.

    A table's columns are as wide as the first part needs; its last one is cut at the terminal's
    edge. Within `with`, so that what was begun is ended.

    Args:
        form: The format.
        columns: The columns of every row, in a table in this order.
    """

    def __init__(self, form: Format, columns: Sequence[str]) -> None:
        self._form, self._columns = form, columns
        self._widths: list[int] = []
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._form is Format.JSON:
            terminal.say("\n]" if self._count else "[]")
        elif kind is None and not self._count:
            self.write([])

    def write(self, rows: Sequence[Row]) -> None:
        """Write some more rows."""
        if self._form is Format.JSON:
            self._write_json(rows)
        elif self._form is Format.CSV:
            self._write_csv(rows)
        else:
            self._write_table(rows)
        self._count += len(rows)
        sys.stdout.flush()

    def _write_json(self, rows: Sequence[Row]) -> None:
        texts = [
            f"{',' if number else '['}\n"
            + textwrap.indent(json.dumps(row, indent=2, allow_nan=False), "  ")
            for number, row in enumerate(rows, start=self._count)
        ]
        terminal.write("".join(texts))

    def _write_csv(self, rows: Sequence[Row]) -> None:
        names = sorted(self._columns, key=lambda name: name != "input")
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if not self._count:
            writer.writerow(names)
        writer.writerows([[row[name] for name in names] for row in rows])

    def _write_table(self, rows: Sequence[Row]) -> None:
        blocks = [_block(name, [row[name] for row in rows]) for name in self._columns]
        is_first = not self._widths
        self._widths = self._widths or [len(block[0]) for block in blocks[:-1]]
        title, *lines = [self._line(cells) for cells in zip(*blocks, strict=True)]
        if is_first:
            terminal.heading(title)
        if lines:
            terminal.say("\n".join(lines))

    def _line(self, cells: Sequence[str]) -> str:
        *first, last = [text.strip() for text in cells]
        padded = [self._padded(place, text) for place, text in enumerate(first)]
        room = terminal.width() - sum(map(len, padded)) - len(GAP) * len(padded)
        return GAP.join([*padded, _clipped(last, max(CLIPPED, room))]).rstrip()

    def _padded(self, place: int, text: str) -> str:
        is_number = self._columns[place] in NUMBERS
        width = self._widths[place]
        return text.rjust(width) if is_number else text.ljust(width)


def _block(name: str, values: Sequence[Any]) -> list[str]:
    """Return a column as texts of equal width, its title first; numbers to the right."""
    texts = [terminal.visible(TITLES.get(name, name)), *(cell(name, value) for value in values)]
    widest = max(map(len, texts))
    numbers = all(isinstance(value, (int, float)) for value in values if value is not None)
    return [text.rjust(widest) if numbers else text.ljust(widest) for text in texts]


def _lines(blocks: list[list[str]], width: int | None) -> list[str]:
    """Return a table's lines, which fit into a width if one is given."""
    if width is None:
        return [GAP.join(cells).rstrip() for cells in zip(*blocks, strict=True)]
    fitted = _fitted(blocks, width)
    last, room = len(fitted) - 1, width - _width(fitted[:-1]) - len(GAP)
    if blocks[last][0].rstrip() != WRAPPED or room < WRAP_ROOM:
        return [GAP.join(cells).rstrip() for cells in zip(*fitted, strict=True)]
    indent = " " * (width - room)
    return [
        GAP.join([*cells, f"\n{indent}".join(textwrap.wrap(text, room) or [""])]).rstrip()
        for *cells, text in zip(*fitted[:-1], blocks[last], strict=True)
    ]


def _fitted(blocks: list[list[str]], width: int) -> list[list[str]]:
    """Leave out columns from the right; of a long text its beginning stays."""
    while len(blocks) > 1 and _width(blocks) > width:
        *blocks, last = blocks
        room = width - _width(blocks) - len(GAP)
        if room >= CLIPPED and last[0].rstrip() in PROSE:
            return [*blocks, [_clipped(text, room) for text in last]]
    return blocks


def _clipped(text: str, room: int) -> str:
    text = text.rstrip()
    return text if len(text) <= room else f"{text[: room - 3].rstrip()}..."


def _width(blocks: Sequence[Sequence[str]]) -> int:
    return sum(len(block[0]) for block in blocks) + len(GAP) * (len(blocks) - 1)


def _only(row: Row, chosen: Sequence[str] | None) -> dict[str, Any]:
    return dict(row) if chosen is None else {name: row.get(name) for name in chosen}


def _show_csv(rows: Sequence[Row], columns: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_as_csv(row.get(name)) for name in columns] for row in rows])


def _as_csv(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (tuple, list, Mapping)):
        return json.dumps(value, default=_as_json)
    return value


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
