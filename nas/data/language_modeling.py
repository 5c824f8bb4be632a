"""Prepare text for language modelling: read, encode, split.

A single source is one stream that is cut into train, validation and test; files of their own are
streams of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data import bpe, byte_level, vocabulary
from nas.data.prepared import Draft, PreparedData, prepare_once
from nas.data.request import WHOLE, DataRequest, Option
from nas.data.sources import read_documents, signature
from nas.data.splits import SPLITS
from nas.errors import DataError
from nas.records import TaskSpec

TASK = "language_modeling"

OPTIONS = {
    "tokenizer": Option(
        default="bytes", choices=("bytes", "bpe"), help="bytes, or byte-pair encoding learned here"
    ),
    "vocab_size": vocabulary.OPTIONS["vocab_size"],
}

Tokens = NDArray[Any]  # uint16, of large vocabularies uint32
Documents = dict[str, list[bytes]]  # of each split


def prepare_language_modeling(request: DataRequest, folder: str | Path) -> PreparedData:
    """Turn text into a folder of token arrays, one `SPLIT.ids` each, or open the one made before.

    Args:
        request: Each source is a text file, a `.jsonl` file, a folder of text files, or
            `builtin:NAME`. Each split that is kept must hold one token more than the context.
        folder: Where the arrays go; made if missing.

    Raises:
        DataError: If a source is no text or too short, or see `prepared.prepare_once`.
    """
    return prepare_once(request, folder, _make)


def _make(request: DataRequest) -> Draft:
    documents = {name: read_documents(source) for name, source in request.sources.items()}
    parts, sizes, tokenizer = (
        _byte_parts(request, documents) if _reads_bytes(request) else _bpe_parts(request, documents)
    )
    _check_lengths(request, parts)
    return Draft(
        spec=_spec(request, tokenizer),
        source_sha256=signature(request.sources),
        examples={name: len(part) for name, part in parts.items()},
        tokens={name: len(part) for name, part in parts.items()},
        bytes=sizes,
        arrays={f"{name}.ids": part for name, part in parts.items() if len(part)},
        files=_files(request, tokenizer),
        tokenizer=str(request.options["tokenizer"]),
    )


def _reads_bytes(request: DataRequest) -> bool:
    """Say whether tokens are bytes, which numpy encodes faster than any tokenizer."""
    if request.trained is not None:
        return request.trained.tokenizer == byte_level.tokenizer_json()
    return request.options["tokenizer"] == "bytes"


def _spec(request: DataRequest, tokenizer: str) -> TaskSpec:
    if request.trained is not None:
        return replace(request.trained.spec, context=request.context)
    end = byte_level.END_OF_TEXT_ID if _reads_bytes(request) else 0
    return TaskSpec(
        task=TASK,
        head="causal_lm",
        vocab_size=bpe.size_of(tokenizer),
        context=request.context,
        bos_token_id=end,
        eos_token_id=end,
    )


def _files(request: DataRequest, tokenizer: str) -> Mapping[str, str]:
    return bpe.tokenizer_files(
        request, tokenizer, bos=byte_level.END_OF_TEXT, eos=byte_level.END_OF_TEXT
    )


def _byte_parts(
    request: DataRequest, documents: Documents
) -> tuple[dict[str, Tokens], dict[str, int], str]:
    """Return tokens and bytes of text of each split, and the tokenizer."""
    streams = {name: byte_level.encode_documents(found) for name, found in documents.items()}
    parts = _cut(request, streams)
    end = byte_level.END_OF_TEXT_ID
    ends = {name: np.count_nonzero(part == end) for name, part in parts.items()}
    sizes = {name: len(part) - int(ends[name]) for name, part in parts.items()}
    return parts, sizes, byte_level.tokenizer_json()


def _bpe_parts(
    request: DataRequest, documents: Documents
) -> tuple[dict[str, Tokens], dict[str, int], str]:
    """As `_byte_parts`; text is cut before it is encoded, so that pairs are learned on train."""
    texts = _cut_documents(request, documents)
    if request.trained is not None:
        tokenizer, end = request.trained.tokenizer, request.trained.spec.eos_token_id
    else:
        train = (text.decode(errors="replace") for text in texts["train"])
        size, end = int(request.options["vocab_size"]), 0
        tokenizer = bpe.train_bpe(train, vocab_size=size, special=[byte_level.END_OF_TEXT])
    parts = {name: _encode(tokenizer, found, end) for name, found in texts.items()}
    return parts, {name: sum(map(len, found)) for name, found in texts.items()}, tokenizer


def _encode(tokenizer: str, documents: Sequence[bytes], end: int | None) -> Tokens:
    """Return the ids of documents in a row, each of several followed by the end token."""
    texts = [document.decode(errors="replace") for document in documents]
    ends = [end] if len(texts) > 1 and end is not None else []
    rows = bpe.encode(tokenizer, texts, special=False)
    kind = "<u2" if bpe.size_of(tokenizer) <= 1 << 16 else "<u4"
    return np.fromiter((token for row in rows for token in (*row, *ends)), dtype=kind)


def _cut(request: DataRequest, streams: dict[str, Tokens]) -> dict[str, Tokens]:
    if not request.is_given:
        stream = streams[WHOLE]
        return {name: stream[where] for name, where in request.split.cut(len(stream)).items()}
    cut = {name: streams.get(name, streams["train"][:0]) for name in SPLITS}
    if "val" not in streams:
        end = len(cut["train"]) - int(len(cut["train"]) * request.split.of_train("val"))
        cut["train"], cut["val"] = cut["train"][:end], cut["train"][end:]
    return cut


def _cut_documents(request: DataRequest, documents: Documents) -> Documents:
    """Cut as `_cut` does, in bytes, and the document at a cut in two."""
    lengths = {name: sum(map(len, found)) for name, found in documents.items()}
    if not request.is_given:
        cuts = request.split.cut(lengths[WHOLE])
        return {name: _between(documents[WHOLE], where) for name, where in cuts.items()}
    cut = {name: documents.get(name, []) for name in SPLITS}
    if "val" not in documents:
        end = lengths["train"] - int(lengths["train"] * request.split.of_train("val"))
        whole = cut["train"]
        cut["train"] = _between(whole, slice(0, end))
        cut["val"] = _between(whole, slice(end, lengths["train"]))
    return cut


def _between(documents: Sequence[bytes], where: slice) -> list[bytes]:
    """Return the bytes of documents, laid end to end, that lie in a range."""
    found, start = [], 0
    for document in documents:
        part = document[max(0, where.start - start) : max(0, where.stop - start)]
        found += [part] if part else []
        start += len(document)
    return found


def _check_lengths(request: DataRequest, parts: dict[str, Tokens]) -> None:
    for name, part in parts.items():
        wanted = name in request.sources if request.is_given else getattr(request.split, name)
        if (wanted or name == "val") and len(part) <= request.context:
            raise DataError(
                f"{request.name}: the {name} split holds {len(part)} tokens, at least "
                f"{request.context + 1} are needed (context {request.context} and one more); give "
                f"more text, raise split.{name} or lower recipe.context"
            )
