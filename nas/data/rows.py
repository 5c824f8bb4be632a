"""Tables of examples: cut into splits, and rows of unequal length as two arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.prepared import PreparedData
from nas.data.request import WHOLE, DataRequest, Option
from nas.data.splits import SHUFFLE_SEED, SPLITS
from nas.errors import DataError

Columns = Mapping[str, Any]  # equally long lists or arrays by name
Ints = NDArray[np.int64]


def read_splits(request: DataRequest, read: Callable[[str], Columns]) -> dict[str, dict[str, Any]]:
    """Read every source and return the columns of each split; a split not kept has none.

    One source is shuffled and cut by the shares of the request. Of given files each is its split;
    without one for `val` it is cut from `train`.

    Raises:
        DataError: If `read` does, or a split that is wanted would be empty.
    """
    tables = {name: read(source) for name, source in request.sources.items()}
    if not request.is_given:
        whole = tables[WHOLE]
        cut = {name: take(whole, rows) for name, rows in request.split.rows(_count(whole)).items()}
    else:
        cut = {name: dict(table) for name, table in tables.items()}
        if "val" not in cut:
            cut["train"], cut["val"] = _carve(cut["train"], request.split.of_train("val"))
    for name in SPLITS:
        wanted = name == "val" or (
            name in request.sources if request.is_given else getattr(request.split, name) > 0
        )
        if wanted and not _count(cut.get(name, {})):
            raise DataError(
                f"{request.name}: no example is left for {name}; give more, or raise split.{name}"
            )
    return {name: table for name, table in cut.items() if _count(table)}


def columns_of(
    request: DataRequest, usual: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Return what each column may be called: by the option `X_column`, else a usual name."""
    asked = {name: str(request.options[f"{name}_column"]) for name in usual}
    return {name: (asked[name],) if asked[name] else names for name, names in usual.items()}


def column_options(names: Sequence[str]) -> dict[str, Option]:
    """Return the options that name columns."""
    text = "column of the {}s; empty: a usual name"
    return {f"{name}_column": Option(default="", help=text.format(name)) for name in names}


def take(columns: Columns, rows: Ints) -> dict[str, Any]:
    """Return the columns with some of their rows."""
    return {
        name: column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        for name, column in columns.items()
    }


def ragged(rows: Sequence[Sequence[int]], vocab_size: int) -> dict[str, NDArray[Any]]:
    """Return rows of ids as `ids`, laid end to end, and `ends`, where each row ends."""
    kind = "<u2" if vocab_size <= 1 << 16 else "<u4"
    ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
    ids = np.fromiter((token for row in rows for token in row), dtype=kind, count=int(ends[-1]))
    return {"ids": ids, "ends": ends}


class Ragged:
    """Rows of ids as `ragged` stored them, each a view of the file's memory.

    Args:
        prepared: The folder.
        name: What stands before `.ids` and `.ends`.
    """

    def __init__(self, prepared: PreparedData, name: str) -> None:
        self._ids = prepared.array(f"{name}.ids")
        self._ends = np.concatenate(([0], prepared.array(f"{name}.ends")))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self._ids[self._ends[row] : self._ends[row + 1]]

    @property
    def lengths(self) -> Ints:
        """Ids of each row."""
        lengths: Ints = np.diff(self._ends)
        return lengths


def _carve(train: Columns, share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    order = np.random.default_rng(SHUFFLE_SEED).permutation(_count(train))
    count = int(len(order) * share)
    return take(train, np.sort(order[count:])), take(train, np.sort(order[:count]))


def _count(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0
