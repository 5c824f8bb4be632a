"""Raw inputs for a model: arguments, lines of a file or of standard input, rows of a table.

Files are read as they are used, so that they may be larger than the memory.
"""

from __future__ import annotations

import csv
import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import InputError

STDIN = "-"
# What the column of inputs may be called, by task; the first ones are those of training.
IMAGE_COLUMNS = ("path", "image", "file")


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One input.

    Attributes:
        value: What the model gets.
        shown: What stands for it in the output.
    """

    value: Any
    shown: str


def check_sources(given: Sequence[str], file: str | None) -> None:
    """Raise if inputs come from two places or from none.

    Raises:
        InputError: If they do.
    """
    if given and file is not None:
        raise InputError("predict: got inputs and --file; give one of them")
    if not given and file is None and sys.stdin.isatty():
        raise InputError(
            "predict: no input; give texts or images, --file, or lines on standard input"
        )


def inputs_for(
    spec: Any, given: Sequence[str], file: str | None, column: str | None
) -> Iterator[Input]:
    """Yield the inputs of a model.

    Args:
        spec: The model's task.
        given: Arguments; `-` alone is standard input.
        file: A file, or `-`; None: standard input unless there are arguments.
        column: What the column of inputs is called, of a table.

    Raises:
        InputError: If a file cannot be read, or an argument is no input.
    """
    kind = {"classify_image": _image, "causal_lm": _history}.get(spec.head, _text)
    if given and list(given) != [STDIN]:
        for argument in given:
            yield from kind(argument)
        return
    if file not in (None, STDIN) and _is_table(str(file)):
        yield from _table(spec, Path(str(file)), column)
        return
    for line in lines_of(file):
        yield from kind(line)


def lines_of(file: str | None) -> Iterator[str]:
    """Yield the lines of a text file, or of standard input; blank ones are left out.

    Raises:
        DataError: If it cannot be read.
    """
    from nas.data.tables import open_text, stream_lines

    if file in (None, STDIN):
        stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
        yield from stream_lines(stream, "standard input")
        return
    with open_text(Path(str(file))) as lines:
        yield from stream_lines(lines, str(file))


def column_of(file: Path, names: Sequence[str], column: str | None) -> Iterator[str]:
    """Yield a column of a table.

    Raises:
        DataError: If the file cannot be read or has no such column.
    """
    from nas.data.tables import stream_rows

    wanted = (column,) if column else names
    for row in stream_rows(file, {"input": wanted}):
        yield row["input"]


def in_parts(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield inputs in lists of at most `size`."""
    rest = iter(inputs)
    while part := list(itertools.islice(rest, size)):
        yield part


def _is_table(file: str) -> bool:
    from nas.data.tables import is_table

    return is_table(Path(file))


def _text(text: str) -> Iterator[Input]:
    yield Input(value=text, shown=text)


def _image(path: str) -> Iterator[Input]:
    """Yield a picture, or all pictures of a folder."""
    from nas.data.images import SUFFIXES

    if not Path(path).is_dir():
        yield Input(value=path, shown=path)
        return
    found = [one for one in sorted(Path(path).rglob("*")) if one.suffix.lower() in SUFFIXES]
    if not found:
        raise InputError(f"{path}: no pictures in this folder (looked for .png, .jpg and the like)")
    for one in found:
        yield Input(value=one, shown=str(one))


def _history(line: str) -> Iterator[Input]:
    """Yield a history: items separated by commas, in quotes where they have some."""
    items = [item.strip() for item in next(csv.reader([line], skipinitialspace=True))]
    yield Input(value=[item for item in items if item], shown=line)


def _table(spec: Any, file: Path, column: str | None) -> Iterator[Input]:
    if spec.head == "causal_lm":
        yield from _logged(file)
        return
    for text in column_of(file, _columns_of(spec.head), column):
        yield Input(value=text, shown=text)


def _columns_of(head: str) -> Sequence[str]:
    from nas.data.sequence_to_sequence import COLUMNS as PAIRS
    from nas.data.text_classification import COLUMNS as LABELLED

    columns: Mapping[str, Sequence[str]] = {
        "classify": LABELLED["text"],
        "seq2seq": PAIRS["source"],
        "classify_image": IMAGE_COLUMNS,
    }
    return columns[head]


def _logged(file: Path) -> Iterator[Input]:
    """Yield the history of each user of a log, which is read as a whole."""
    from nas.data.interactions import histories_of
    from nas.data.sequential_recommendation import COLUMNS
    from nas.data.tables import read_rows

    for user, items in histories_of(read_rows(file, COLUMNS)).items():
        yield Input(value=items, shown=user)
