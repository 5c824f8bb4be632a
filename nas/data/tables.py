"""Read tables of examples: csv, tsv and jsonl, gzipped or not, as columns of text."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from nas.data.text_files import read_text_file, unreadable
from nas.errors import DataError, nearest

SUFFIXES = (".csv", ".tsv", ".jsonl")
# What ends a line: of csv any end, which may also stand in quotes.
_NEWLINE = {".csv": "", ".tsv": "\n", ".jsonl": "\n"}
LARGEST_FIELD = 1 << 30  # characters of a field that is read from a stream
MOST_NAME_WORDS = 4  # of a column; more are a sentence

Wanted = Mapping[str, Sequence[str]]  # our name of a column: what it may be called
Row = tuple[int, Mapping[str, Any]]  # line number, cells


def read_rows(path: Path, columns: Wanted) -> dict[str, list[str]]:
    """Return some columns of a table as text.

    A csv or tsv file begins with a header, unless it has exactly as many columns as are wanted
    and its first line looks like none: then they are taken in the order of `columns`. Fields of
    csv may be quoted, those of tsv may not. Numbers and booleans of jsonl become text.

    Args:
        path: A `.csv`, `.tsv` or `.jsonl` file in UTF-8, which may also end in `.gz`.
        columns: Our name of each column and what it may be called, the preferred name first.

    Returns:
        Equally long lists under our names.

    Raises:
        DataError: If the file cannot be read, a column is missing, or a row is not whole.
    """
    suffix = _checked_suffix(path)
    text = read_text_file(path).decode("utf-8-sig")
    if not text.strip():
        raise DataError(f"{path}: empty; there is nothing to learn from")
    rows = _rows(path, io.StringIO(text, newline=_NEWLINE[suffix]), columns)
    with _fields_of(len(text)):
        return _columns(path, rows, columns)


def stream_rows(path: Path, columns: Wanted) -> Iterator[dict[str, str]]:
    """Yield the rows of a table as they are read, each as text under our names.

    Args:
        path: As for `read_rows`.
        columns: As for `read_rows`.

    Raises:
        DataError: As `read_rows` does, at the row where it is.
    """
    names: dict[str, str] = {}
    with (
        _fields_of(LARGEST_FIELD),
        open_text(path, newline=_NEWLINE[_checked_suffix(path)]) as lines,
    ):
        try:
            for line, cells in _rows(path, lines, columns):
                names = names or _match(path, cells, columns)
                yield {ours: _cell(path, line, theirs, cells) for ours, theirs in names.items()}
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise _unreadable_now(path, error) from error


@contextmanager
def open_text(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    """Open a UTF-8 text, gzipped or not, to be read a line at a time.

    Raises:
        DataError: If it is not there or cannot be opened.
    """
    try:
        opened: Any = (
            gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)  # noqa: SIM115 - closed below
            if path.suffix.lower() == ".gz"
            else path.open(encoding="utf-8-sig", newline=newline)
        )
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    with opened as lines:
        yield lines


def stream_lines(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield the lines of a text without their ends; blank ones are left out.

    Raises:
        DataError: If it is not UTF-8 text or cannot be read on.
    """
    try:
        for line in lines:
            if text := line.strip():
                yield text
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise _unreadable_now(Path(name), error) from error


def peek_rows(path: Path, most: int) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Return what a table calls its columns, and its first rows, whatever they hold.

    Args:
        path: As for `read_rows`.
        most: Rows at most.

    Returns:
        The names, empty for a table without a header, and cells by name; without a header by
        their place, `"0"`, `"1"` and so on.

    Raises:
        DataError: If the table cannot be read so far.
    """
    suffix = _checked_suffix(path)
    with _fields_of(LARGEST_FIELD), open_text(path, newline=_NEWLINE[suffix]) as lines:
        try:
            if suffix == ".jsonl":
                found = [row for _, row in islice(_json_rows(path, lines), most)]
                return list(dict.fromkeys(key for row in found for key in row)), found
            read = _csv_lines(path, lines) if suffix == ".csv" else _tsv_lines(lines)
            return _named_cells([cells for _, cells in islice(read, most + 1)])
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise _unreadable_now(path, error) from error


def _named_cells(rows: list[list[str]]) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Return the header of some rows, if the first looks like one, and the others by it."""
    first, *others = rows or [[]]
    if _may_be_header(first, others):
        return first, [dict(zip(first, cells, strict=False)) for cells in others]
    return [], [{str(place): cell for place, cell in enumerate(cells)} for cells in rows]


def _may_be_header(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Say whether a line names columns: short words, each once, none of which stands below."""
    if len(set(first)) < len(first) or not all(map(_is_name, first)):
        return False
    below = [
        {cells[place] for cells in others if place < len(cells)} for place in range(len(first))
    ]
    return not any(cell in found for cell, found in zip(first, below, strict=True))


def _is_name(cell: str) -> bool:
    text = cell.strip()
    few = 1 <= len(text.split()) <= MOST_NAME_WORDS
    return few and text[-1] not in ".!?" and not text[0].isdigit()


def is_table(path: Path) -> bool:
    """Say whether a file's name is a table's."""
    return _suffix(path) in SUFFIXES


def _unreadable_now(path: Path, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"{path}: cannot be read on: not whole UTF-8 text ({error})")


def _columns(path: Path, rows: Iterator[Row], columns: Wanted) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in columns}
    names: dict[str, str] = {}
    for line, cells in rows:
        names = names or _match(path, cells, columns)
        for name, theirs in names.items():
            found[name].append(_cell(path, line, theirs, cells))
    if not names:
        raise DataError(f"{path}: has a header and no rows below it")
    return found


def read_texts_jsonl(path: Path, column: str) -> list[str]:
    """Return the text of each line of a jsonl file.

    Raises:
        DataError: As for `read_rows`.
    """
    return read_rows(path, {"text": (column,)})["text"]


@contextmanager
def _fields_of(most: int) -> Iterator[None]:
    """Let csv read fields of so many characters: its limit, for all of Python, is 131,072."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, most))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _checked_suffix(path: Path) -> str:
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: a table is a {', '.join(SUFFIXES)} file (also .gz); got '{suffix}'"
        )
    return suffix


def _suffix(path: Path) -> str:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _rows(path: Path, lines: Iterable[str], columns: Wanted) -> Iterator[Row]:
    suffix = _suffix(path)
    if suffix == ".jsonl":
        return _json_rows(path, lines)
    cells = _csv_lines(path, lines) if suffix == ".csv" else _tsv_lines(lines)
    return _cell_rows(path, cells, columns)


def _cell_rows(
    path: Path, lines: Iterator[tuple[int, list[str]]], columns: Wanted
) -> Iterator[Row]:
    first_line, header = next(lines, (1, []))
    if not header:
        raise DataError(f"{path}: empty; there is nothing in it")
    known = {name for names in columns.values() for name in names}
    # A first line of single words alone is a header with other names, to be refused.
    has_header = bool(known & set(header)) or all(cell.strip().isidentifier() for cell in header)
    if not has_header and len(header) == len(columns):
        columns_given = [names[0] for names in columns.values()]
        yield first_line, dict(zip(columns_given, header, strict=True))
        header = columns_given
    if len(set(header)) < len(header):
        doubled = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}: line {first_line}: two columns are called '{doubled}'")
    for line, cells in lines:
        if len(cells) != len(header):
            raise DataError(
                f"{path}: line {line}: {len(cells)} fields, the header has {len(header)}"
            )
        yield line, dict(zip(header, cells, strict=True))


def _csv_lines(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}: line {line}: not csv ({error})") from error
        if cells:
            yield line, cells


def _tsv_lines(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        stripped = line.removesuffix("\n").removesuffix("\r")
        if stripped:
            yield number, stripped.split("\t")


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number}: got {type(row).__name__}, expected an object")
        yield number, row


def _match(path: Path, cells: Mapping[str, Any], columns: Wanted) -> dict[str, str]:
    """Return what the file calls each column that is wanted."""
    names = {}
    for name, accepted in columns.items():
        theirs = next((one for one in accepted if one in cells), None)
        if theirs is None:
            raise DataError(
                f"{path}: no column for the {name}; expected {' or '.join(accepted)}, the file has "
                f"{', '.join(cells)}{nearest(accepted[0], list(cells))}"
            )
        names[name] = theirs
    return names


def _cell(path: Path, line: int, column: str, cells: Mapping[str, Any]) -> str:
    value = cells.get(column)
    if isinstance(value, str):
        _check_characters(path, line, column, value)
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    kind = value if isinstance(value, float) else type(value).__name__
    got = "nothing" if value is None else kind
    raise DataError(f"{path}: line {line}: {column}: got {got}, expected text or a number")


def _check_characters(path: Path, line: int, column: str, text: str) -> None:
    """Refuse halves of characters, which the escapes of JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: line {line}: {column}: character {error.start} is "
            f"\\u{ord(text[error.start]):04x}, half of one; correct it or leave the line out"
        ) from error
