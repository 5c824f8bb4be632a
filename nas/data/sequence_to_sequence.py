"""Prepare pairs of texts: one vocabulary for both sides, learned on train.

A source is its tokens and `</s>`; a target is stored the same way, and the decoder begins at `<s>`.
What is written is scored against `SPLIT.reference`: targets as they are, however long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.data import bpe, examples, vocabulary
from nas.data.prepared import Draft, PreparedData, prepare_once
from nas.data.request import DataRequest
from nas.data.rows import Columns, column_options, columns_of, ragged, read_splits
from nas.data.sources import builtin_name, is_builtin, local_path, signature
from nas.data.splits import SPLITS
from nas.data.tables import read_rows
from nas.errors import DataError
from nas.records import TaskSpec

TASK = "sequence_to_sequence"
PAD, BEGIN, END = range(3)
SPECIAL = ("<pad>", "<s>", "</s>")

COLUMNS = {
    "source": ("source", "src", "input", "en"),
    "target": ("target", "tgt", "output", "de"),
}

Frame = tuple[Sequence[int], Sequence[int]]  # special tokens before and after a text

OPTIONS = {**vocabulary.OPTIONS, **column_options(tuple(COLUMNS))}


def prepare_sequence_to_sequence(request: DataRequest, folder: str | Path) -> PreparedData:
    """Turn pairs of texts into arrays, or open those made before.

    Texts beyond the context lose their end.

    Args:
        request: Each source is a `.csv`, `.tsv` or `.jsonl` file (also `.gz`) or
            `builtin:function-names`.
        folder: Where the arrays go; made if missing.

    Raises:
        DataError: If a source cannot be read or has an empty text.
    """
    return prepare_once(request, folder, _make)


def _make(request: DataRequest) -> Draft:
    splits = read_splits(request, lambda source: _read(request, source))
    texts = [*splits["train"]["source"], *splits["train"]["target"]]
    tokenizer = vocabulary.tokenizer_for(request, texts, SPECIAL, single="$A </s>", pair=None)
    frame = bpe.frame_of(bpe.read_tokenizer(tokenizer))
    arrays: dict[str, Any] = {}
    for name, table in splits.items():
        sides = {
            side: _rows(request, table[side], tokenizer, frame) for side in ("source", "target")
        }
        if name != "train":
            sides["reference"] = bpe.encode(tokenizer, table["target"], special=False)
        for side, rows in sides.items():
            for part, array in ragged(rows, bpe.size_of(tokenizer)).items():
                arrays[f"{name}.{side}.{part}"] = array
    count = {name: len(splits[name]["source"]) if name in splits else 0 for name in SPLITS}
    return Draft(
        spec=_spec(request, tokenizer),
        source_sha256=signature(request.sources),
        examples=count,
        tokens={name: number * request.context for name, number in count.items()},
        arrays=arrays,
        files=_files(request, tokenizer),
        tokenizer=str(request.options["tokenizer"]),
    )


def _spec(request: DataRequest, tokenizer: str) -> TaskSpec:
    if request.trained is not None:
        return replace(request.trained.spec, context=request.context)
    return TaskSpec(
        task=TASK,
        head="seq2seq",
        vocab_size=bpe.size_of(tokenizer),
        context=request.context,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
    )


def _files(request: DataRequest, tokenizer: str) -> Mapping[str, str]:
    return bpe.tokenizer_files(
        request, tokenizer, text_only=True, bos="<s>", eos="</s>", pad="<pad>"
    )


def _read(request: DataRequest, source: str) -> Columns:
    if is_builtin(source):
        sources, targets = builtin_name(source, {"function-names": examples.function_names})()
        return {"source": sources, "target": targets}
    table = read_rows(local_path(source), columns_of(request, COLUMNS))
    for name, texts in table.items():
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise DataError(f"{source}: example {number} has an empty {name}; leave it out")
    return table


def _rows(
    request: DataRequest, texts: Sequence[str], tokenizer: str, frame: Frame
) -> list[list[int]]:
    encoded = bpe.encode(tokenizer, texts, special=False)
    return [cut_source(row, request.context, frame) for row in encoded]


def cut_source(tokens: Sequence[int], context: int, frame: Frame) -> list[int]:
    """Return the beginning of a text that fits, within its special tokens."""
    before, after = frame
    return [*before, *tokens[: context - len(before) - len(after)], *after]
