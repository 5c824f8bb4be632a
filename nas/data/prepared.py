"""The folder of prepared data that a study keeps: token arrays, tokenizer and `data.json`.

`data.json` is written last, so that its existence means that the folder is complete. Arrays are
little-endian uint16 in `.npy` files and mapped into memory, not read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nas.data.splits import Split
from nas.errors import DataError
from nas.records import from_plain

FORMAT_VERSION = 1
DATA_JSON = "data.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInfo:
    """What `data.json` says.

    Attributes:
        kind: The task that the data was prepared for.
        source: The data as the user named it.
        source_sha256: Content of the source (see `sources.source_signature`).
        documents: Documents in the source.
        tokenizer: Name of the vocabulary.
        context: Longest input in tokens.
        split: The fractions asked for.
        tokens: Tokens of each split.
        bytes: Bytes of text of each split; the ends of documents are none.
        fingerprint: 12 hex digits that tokens, their splits and the tokenizer decide.
    """

    kind: str
    source: str
    source_sha256: str
    documents: int
    tokenizer: str
    vocab_size: int
    bos_token_id: int
    eos_token_id: int
    context: int
    split: Split
    tokens: Mapping[str, int]
    bytes: Mapping[str, int]
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """A complete folder of prepared data."""

    folder: Path
    info: DataInfo

    @classmethod
    def open(cls, folder: str | Path) -> PreparedData:
        """Open a folder and check that its arrays are whole; nothing big is read.

        Raises:
            DataError: If the folder is missing, incomplete, damaged or of another version.
        """
        folder = Path(folder)
        prepared = cls(folder=folder, info=_read_info(folder / DATA_JSON))
        for name, count in prepared.info.tokens.items():
            if count:
                prepared.split(name)
        return prepared

    def split(self, name: str) -> NDArray[np.uint16]:
        """Return the token ids of `train`, `val` or `test`, shape (tokens,), mapped into memory.

        Raises:
            DataError: If no such split was kept, or its file is missing or damaged.
        """
        count = self.info.tokens.get(name, 0)
        if not count:
            raise DataError(f"{self.folder}: no '{name}' split was kept; its fraction is 0")
        path = self.folder / f"{name}.npy"
        try:
            tokens = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if tokens.shape != (count,) or tokens.dtype != np.dtype("<u2"):
            raise _damaged(path, f"{tokens.dtype}{tokens.shape}, expected uint16({count},)")
        return tokens

    def bytes_per_token(self, name: str) -> float:
        """Return the bytes of text that a token of the split stands for, on average."""
        return self.info.bytes[name] / self.info.tokens[name]


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, plain: Any) -> None:
    """Write indented JSON so that it is there whole or not at all."""
    text = json.dumps(plain, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _read_info(path: Path) -> DataInfo:
    try:
        plain = json.loads(path.read_bytes())
        version = plain.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise DataError(
                f"{path}: format_version {version}, this nas reads {FORMAT_VERSION}; "
                "use the version that wrote it"
            )
        return from_plain(DataInfo, plain)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path.parent}: no prepared data here ({DATA_JSON} is missing)") from error
    except DataError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: damaged ({reason}); delete {path.parent} to prepare the data again")
