"""Prepare text for language modelling: read, encode, split, fingerprint, write."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data import byte_level
from nas.data.prepared import (
    DATA_JSON,
    FORMAT_VERSION,
    DataInfo,
    PreparedData,
    write_json,
    write_whole,
)
from nas.data.sources import read_documents, signature_of
from nas.data.splits import Split
from nas.errors import DataError
from nas.records import canonical_json, to_plain

KIND = "language_modeling"

Tokens = NDArray[np.uint16]


def prepare_language_modeling(
    source: str, folder: str | Path, *, split: Split, context: int
) -> PreparedData:
    """Turn a source of text into a folder of token arrays, or open the folder made before.

    A complete folder is opened without a look at the source; an incomplete one is made anew.

    Args:
        source: A text file, a folder of text files, or `builtin:NAME`.
        folder: Where the arrays go; made if missing.
        split: Fractions of the token stream.
        context: Longest input in tokens; each split that is kept must hold one more.

    Raises:
        DataError: If the source is no text or too short, the folder cannot be written, or it
            holds data prepared with another split or context.
    """
    folder = Path(folder)
    if (folder / DATA_JSON).exists():
        return _reopen(folder, split, context)
    documents = read_documents(source)
    stream = byte_level.encode_documents(documents)
    parts = {name: stream[where] for name, where in split.cut(len(stream)).items()}
    _check_lengths(source, parts, split, context)
    info = DataInfo(
        kind=KIND,
        source=source,
        source_sha256=signature_of(documents),
        documents=len(documents),
        context=context,
        split=split,
        **_measured(parts),
    )
    _write(folder, info, parts)
    return PreparedData.open(folder)


def _reopen(folder: Path, split: Split, context: int) -> PreparedData:
    prepared = PreparedData.open(folder)
    for name, kept, asked in (
        ("split", prepared.info.split, split),
        ("context", prepared.info.context, context),
    ):
        if kept != asked:
            raise DataError(
                f"{folder}: prepared with {name} {kept}, {asked} asked for; choose another folder"
            )
    return prepared


def _check_lengths(source: str, parts: dict[str, Tokens], split: Split, context: int) -> None:
    for name, part in parts.items():
        if getattr(split, name) and len(part) <= context:
            raise DataError(
                f"{source}: the {name} split holds {len(part)} tokens, at least {context + 1} are "
                f"needed (context {context} and one more); give more text, raise split.{name} "
                "or lower recipe.context"
            )


def _measured(parts: dict[str, Tokens]) -> dict[str, Any]:
    """Return the fields of `DataInfo` that the vocabulary and the tokens decide."""
    tokens = {name: len(part) for name, part in parts.items()}
    ends = {
        name: np.count_nonzero(part == byte_level.END_OF_TEXT_ID) for name, part in parts.items()
    }
    digest = hashlib.sha256(canonical_json([byte_level.NAME, tokens]).encode())
    for part in parts.values():
        digest.update(part.data)
    return {
        "tokenizer": byte_level.NAME,
        "vocab_size": byte_level.VOCAB_SIZE,
        "bos_token_id": byte_level.END_OF_TEXT_ID,
        "eos_token_id": byte_level.END_OF_TEXT_ID,
        "tokens": tokens,
        "bytes": {name: tokens[name] - int(ends[name]) for name in parts},
        "fingerprint": digest.hexdigest()[:12],
    }


def _write(folder: Path, info: DataInfo, parts: dict[str, Tokens]) -> None:
    tokenizer = byte_level.tokenizer_json().encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            write_whole(folder / f"{name}.npy", partial(np.save, arr=part))
        write_whole(folder / "tokenizer.json", lambda file: file.write(tokenizer))
        write_json(folder / "tokenizer_config.json", byte_level.tokenizer_config(info.context))
        write_json(folder / DATA_JSON, {"format_version": FORMAT_VERSION} | to_plain(info))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the prepared data: {error.strerror or error}; "
            "make room or choose another folder"
        ) from error
