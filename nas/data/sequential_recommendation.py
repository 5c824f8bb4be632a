"""Prepare histories of items: each user's last item is test, the one before it val.

Token 0 is padding and item i is token i + 1. Fractions of the split do not apply; with
`split.test: 0` the last item is val and none is kept for test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data import bpe, examples
from nas.data.interactions import Interactions, interactions_of, read_interactions
from nas.data.prepared import Draft, PreparedData, prepare_once
from nas.data.request import WHOLE, DataRequest
from nas.data.rows import column_options, columns_of, ragged
from nas.data.sources import builtin_name, is_builtin, local_path, signature
from nas.errors import DataError
from nas.records import TaskSpec

TASK = "sequential_recommendation"
PAD = 0
SPECIAL = ("<pad>",)

COLUMNS = {
    "user": ("user", "user_id", "userId"),
    "item": ("item", "item_id", "itemId", "movieId", "product"),
    "time": ("time", "timestamp", "date"),
}

OPTIONS = column_options(tuple(COLUMNS))


def prepare_sequential_recommendation(request: DataRequest, folder: str | Path) -> PreparedData:
    """Turn a log of users, items and times into arrays, or open those made before.

    Args:
        request: One source: a `.csv`, `.tsv` or `.jsonl` file (also `.gz`) or `builtin:name-log`.
        folder: Where the arrays go; made if missing.

    Raises:
        DataError: If the source cannot be read, or no user has three events.
    """
    return prepare_once(request, folder, _make)


def _make(request: DataRequest) -> Draft:
    if request.is_given:
        raise DataError(
            "task.data: got files for each split, expected one log: of each user the last item is "
            "test and the one before it val"
        )
    log = _read(request)
    if not log.sequences:
        raise DataError(f"{request.name}: no user has 3 events or more; give a longer log")
    if taken := set(SPECIAL) & set(log.items):
        raise DataError(f"{request.name}: an item is called '{taken.pop()}', which is padding here")
    tokenizer = _tokenizer(request, log.items)
    vocab_size = bpe.size_of(tokenizer)
    tokens = _tokens_of(request, log.items, tokenizer)
    rows = [tokens[sequence] for sequence in log.sequences]
    splits = {"train": 2, "val": 1, "test": 0} if request.split.test else {"train": 1, "val": 0}
    if max(map(len, rows)) < splits["train"] + 2:
        raise DataError(
            f"{request.name}: no user has {splits['train'] + 2} events or more, of which the last "
            f"{splits['train']} are held back; nothing is left to predict in train"
        )
    arrays: dict[str, NDArray[Any]] = {}
    for name, left_out in splits.items():
        kept = [row[: len(row) - left_out].tolist() for row in rows]
        for part, array in ragged(kept, vocab_size).items():
            arrays[f"{name}.{part}"] = array
    users = {name: len(rows) if name in splits else 0 for name in ("train", "val", "test")}
    spec = TaskSpec(
        task=TASK,
        head="causal_lm",
        vocab_size=vocab_size,
        context=request.context,
        pad_token_id=PAD,
    )
    trained = request.trained
    return Draft(
        spec=spec if trained is None else replace(trained.spec, context=request.context),
        source_sha256=signature(request.sources),
        examples=users,
        tokens={
            name: int(np.minimum([len(row) for row in rows], request.context).sum()) if count else 0
            for name, count in users.items()
        },
        arrays=arrays,
        files=bpe.tokenizer_files(request, tokenizer, pad="<pad>"),
        tokenizer="items",
    )


def _tokenizer(request: DataRequest, items: Sequence[str]) -> str:
    if request.trained is not None:
        return request.trained.tokenizer
    return bpe.word_tokenizer(items, SPECIAL)


def _tokens_of(request: DataRequest, items: Sequence[str], tokenizer: str) -> NDArray[np.int64]:
    """Return the token of each item."""
    known = bpe.read_tokenizer(tokenizer)
    tokens = [known.token_to_id(item) for item in items]
    unknown = [item for item, token in zip(items, tokens, strict=True) if token is None]
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise DataError(
            f"{request.name}: the model does not know the item '{unknown[0]}'{more}; leave their "
            "events out, or search anew on the whole log"
        )
    return np.array(tokens, dtype=np.int64)


def _read(request: DataRequest) -> Interactions:
    source = request.sources[WHOLE]
    if is_builtin(source):
        return interactions_of(builtin_name(source, {"name-log": examples.name_log})())
    return read_interactions(local_path(source), **columns_of(request, COLUMNS))
