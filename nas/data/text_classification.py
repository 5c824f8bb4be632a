"""Prepare labelled texts: read, learn a vocabulary on train, encode, cut long ones.

A text is `[CLS]`, its tokens, `[SEP]`. With `long_inputs: chunk` a text beyond the context becomes
several rows, and `SPLIT.owner` names the example of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.data import bpe, examples, vocabulary
from nas.data.labels import label_numbers, labels_for
from nas.data.prepared import Draft, PreparedData, prepare_once
from nas.data.request import DataRequest, Option
from nas.data.rows import Columns, column_options, columns_of, ragged, read_splits
from nas.data.sources import builtin_name, is_builtin, local_path, signature
from nas.data.splits import SPLITS
from nas.data.tables import read_rows
from nas.errors import DataError
from nas.records import LONG_INPUTS, TaskSpec

TASK = "text_classification"
PAD, CLS, SEP, MASK = range(4)
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")

COLUMNS = {
    "text": ("text", "sentence", "review", "content", "document"),
    "label": ("label", "class", "category", "target", "sentiment"),
}

OPTIONS = {
    **vocabulary.OPTIONS,
    **column_options(tuple(COLUMNS)),
    "long_inputs": Option(
        default="truncate",
        choices=LONG_INPUTS,
        help="beyond the context: keep the beginning, keep the end, or read in pieces",
    ),
    "chunk_overlap": Option(default=0, help="tokens that a piece shares with the one before"),
}


def prepare_text_classification(request: DataRequest, folder: str | Path) -> PreparedData:
    """Turn labelled texts into arrays, or open those made before.

    Args:
        request: Each source is a `.csv`, `.tsv` or `.jsonl` file (also `.gz`) or
            `builtin:docstrings`.
        folder: Where the arrays go; made if missing.

    Raises:
        DataError: If a source cannot be read, has one class only, or labels that train has not.
    """
    return prepare_once(request, folder, _make)


def _make(request: DataRequest) -> Draft:
    _check_overlap(request)
    splits = read_splits(request, lambda source: _read(request, source))
    labels = labels_for(request.trained, splits["train"]["label"], where=request.name)
    tokenizer = vocabulary.tokenizer_for(
        request,
        splits["train"]["text"],
        SPECIAL,
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
    )
    arrays: dict[str, Any] = {}
    for name, table in splits.items():
        arrays |= _arrays(request, name, table["text"], tokenizer)
        arrays[f"{name}.labels"] = label_numbers(
            table["label"], labels, where=request.name, split=name
        )
    examples_of = {name: len(splits[name]["text"]) if name in splits else 0 for name in SPLITS}
    return Draft(
        spec=_spec(request, tokenizer, labels),
        source_sha256=signature(request.sources),
        examples=examples_of,
        tokens={
            name: len(arrays[f"{name}.ends"]) * request.context if count else 0
            for name, count in examples_of.items()
        },
        arrays=arrays,
        files=_files(request, tokenizer),
        tokenizer=str(request.options["tokenizer"]),
    )


def _spec(request: DataRequest, tokenizer: str, labels: tuple[str, ...]) -> TaskSpec:
    spec = TaskSpec(
        task=TASK,
        head="classify",
        vocab_size=bpe.size_of(tokenizer),
        context=request.context,
        bos_token_id=CLS,
        eos_token_id=SEP,
        pad_token_id=PAD,
    )
    return replace(
        spec if request.trained is None else request.trained.spec,
        context=request.context,
        labels=labels,
        long_inputs=str(request.options["long_inputs"]),
        chunk_overlap=int(request.options["chunk_overlap"]),
    )


def _files(request: DataRequest, tokenizer: str) -> Mapping[str, str]:
    return bpe.tokenizer_files(
        request,
        tokenizer,
        keep="end" if request.options["long_inputs"] == "truncate_left" else "beginning",
        text_only=True,
        cls="[CLS]",
        sep="[SEP]",
        pad="[PAD]",
        mask="[MASK]",
    )


def _check_overlap(request: DataRequest) -> None:
    overlap, most = int(request.options["chunk_overlap"]), request.context - 3
    if most < 0:
        raise DataError(f"recipe.context: got {request.context}, a text needs at least 3 tokens")
    if overlap > most:
        raise DataError(f"task.chunk_overlap: got {overlap}, at most context - 3 = {most}")


def _read(request: DataRequest, source: str) -> Columns:
    if is_builtin(source):
        texts, labels = builtin_name(source, {"docstrings": examples.docstrings})()
        return {"text": texts, "label": labels}
    return read_rows(local_path(source), columns_of(request, COLUMNS))


def _arrays(
    request: DataRequest, split: str, texts: Sequence[str], tokenizer: str
) -> dict[str, Any]:
    encoded = bpe.encode(tokenizer, texts, special=False)
    frame = bpe.frame_of(bpe.read_tokenizer(tokenizer))
    pieces = [list(cut_text(request.options, row, request.context, frame)) for row in encoded]
    rows = [piece for found in pieces for piece in found]
    parts: dict[str, Any] = {**ragged(rows, bpe.size_of(tokenizer))}
    parts["owner"] = np.repeat(np.arange(len(pieces)), [len(found) for found in pieces])
    return {f"{split}.{name}": array for name, array in parts.items()}


def cut_text(
    options: Mapping[str, Any],
    tokens: Sequence[int],
    context: int,
    frame: tuple[Sequence[int], Sequence[int]] = ((CLS,), (SEP,)),
) -> Iterator[list[int]]:
    """Yield the inputs that a text becomes, each within its special tokens.

    Args:
        options: `long_inputs` and `chunk_overlap` by name.
        tokens: The text's tokens.
        context: Longest input.
        frame: The special tokens before and after (see `bpe.frame_of`).
    """
    before, after = frame
    room, how = context - len(before) - len(after), options["long_inputs"]
    if how == "truncate_left":
        tokens = tokens[max(0, len(tokens) - room) :]
    elif how == "truncate":
        tokens = tokens[:room]
    step = room - int(options["chunk_overlap"])
    for start in range(0, max(1, len(tokens) - room + step), step):
        yield [*before, *tokens[start : start + room], *after]
