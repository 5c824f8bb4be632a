"""The folder of prepared data that a study keeps: arrays, tokenizer and `data.json`.

`data.json` is written last, so that its existence means that the folder is complete. Arrays are
`.npy` files, mapped into memory and not read; what they hold is the tasks' to say.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nas.data.request import DataRequest, OptionValue
from nas.data.splits import Split
from nas.errors import DataError
from nas.records import TaskSpec, canonical_json, from_plain, to_plain

FORMAT_VERSION = 2
DATA_JSON = "data.json"

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayInfo:
    """Type and shape of one array."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInfo:
    """What `data.json` says.

    Attributes:
        spec: What a model for the data must fit; it names the task.
        sources: The data as the user named it.
        source_sha256: Content of the sources (see `sources.signature`).
        tokenizer: Name of the vocabulary; empty for images.
        split: The fractions asked for.
        options: The task's options.
        examples: Examples of each split, 0 where none was kept; of running text its tokens.
        tokens: Tokens that a pass over each split reads.
        bytes: Bytes of text of each split; empty where they mean nothing.
        arrays: What the folder holds.
        fingerprint: 12 hex digits that the arrays, the vocabulary and the labels decide.
    """

    spec: TaskSpec
    sources: Mapping[str, str]
    source_sha256: str
    tokenizer: str
    split: Split
    options: Mapping[str, str | int | bool]
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    bytes: Mapping[str, int]
    arrays: Mapping[str, ArrayInfo]
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a task made of the sources, not yet written.

    Attributes:
        arrays: By name, as a rule `SPLIT.WHAT`.
        files: Text files beside them, such as `tokenizer.json`.
    """

    spec: TaskSpec
    source_sha256: str
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    arrays: Mapping[str, Array]
    files: Mapping[str, str]
    tokenizer: str = ""
    bytes: Mapping[str, int] = field(default_factory=dict)


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
        for name in prepared.info.arrays:
            prepared.array(name)
        return prepared

    @property
    def spec(self) -> TaskSpec:
        """What a model for this data must fit."""
        return self.info.spec

    def has(self, split: str) -> bool:
        """Say whether a split was kept."""
        return self.info.examples.get(split, 0) > 0

    def need(self, split: str) -> None:
        """Do nothing if a split was kept.

        Raises:
            DataError: If it was not.
        """
        if not self.has(split):
            raise DataError(f"{self.folder}: no '{split}' split was kept; its fraction is 0")

    def array(self, name: str) -> Array:
        """Return an array by name, mapped into memory.

        Raises:
            DataError: If there is none, or its file is missing or damaged.
        """
        if name not in self.info.arrays:
            raise DataError(f"{self.folder}: holds no array '{name}'")
        path, expected = self.folder / f"{name}.npy", self.info.arrays[name]
        try:
            found: Array = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if found.shape != expected.shape or found.dtype != np.dtype(expected.dtype):
            wanted = f"{expected.dtype}{expected.shape}"
            raise _damaged(path, f"{found.dtype.str}{found.shape}, expected {wanted}")
        return found

    def bytes_per_token(self, split: str) -> float:
        """Return the bytes of text that a token of the split stands for, on average."""
        return self.info.bytes[split] / self.info.tokens[split]


def prepare_once(
    request: DataRequest, folder: str | Path, make: Callable[[DataRequest], Draft]
) -> PreparedData:
    """Write what `make` returns into a folder, or open the folder made before.

    A complete folder is opened without a look at the sources; an incomplete one is made anew.

    Raises:
        DataError: If `make` does, the folder cannot be written, or it holds data prepared
            otherwise.
    """
    folder = Path(folder)
    if (folder / DATA_JSON).exists():
        return _reopen(folder, request)
    _write(folder, request, make(request))
    return PreparedData.open(folder)


def _reopen(folder: Path, request: DataRequest) -> PreparedData:
    prepared = PreparedData.open(folder)
    info = prepared.info
    for name, kept, asked in (
        ("split", info.split, request.split),
        ("context", info.spec.context, request.context),
        ("options", dict(info.options), dict(request.options)),
    ):
        if kept != asked:
            raise DataError(
                f"{folder}: prepared with {name} {kept}, {asked} asked for; choose another folder"
            )
    return prepared


def _write(folder: Path, request: DataRequest, draft: Draft) -> None:
    info = DataInfo(
        spec=draft.spec,
        sources=dict(request.sources),
        source_sha256=draft.source_sha256,
        tokenizer=draft.tokenizer,
        split=request.split,
        options=dict(request.options),
        examples=draft.examples,
        tokens=draft.tokens,
        bytes=draft.bytes,
        arrays={
            name: ArrayInfo(dtype=array.dtype.str, shape=array.shape)
            for name, array in draft.arrays.items()
        },
        fingerprint=_fingerprint(draft),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in draft.arrays.items():
            write_whole(folder / f"{name}.npy", partial(_write_array, array))
        for name, text in draft.files.items():
            write_whole(folder / name, partial(_write_text, text))
        write_json(folder / DATA_JSON, {"format_version": FORMAT_VERSION} | to_plain(info))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write the prepared data: {error.strerror or error}; "
            "make room or choose another folder"
        ) from error


def _fingerprint(draft: Draft) -> str:
    """Return 12 hex digits; neither file names nor the context have a part in them."""
    shapes = {name: list(array.shape) for name, array in draft.arrays.items()}
    spec = draft.spec
    plain = [spec.task, draft.tokenizer, spec.vocab_size, list(spec.labels), shapes]
    digest = hashlib.sha256(canonical_json(plain).encode())
    for array in draft.arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:12]


class _Stream:
    """A file that numpy does not know for one: it writes parts as Python does.

    Into a file that it knows it writes as C does, and does not say why that was too little.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, part: bytes) -> int:
        """Write a part.

        Raises:
            OSError: If it cannot be, with the system's reason.
        """
        return self._file.write(part)


def _write_array(array: Array, file: BinaryIO) -> None:
    np.save(_Stream(file), array, allow_pickle=False)


def _write_text(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, plain: Any) -> None:
    """Write indented JSON so that it is there whole or not at all."""
    write_whole(path, partial(_write_text, json.dumps(plain, indent=2) + "\n"))


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


__all__ = [
    "DATA_JSON",
    "DataInfo",
    "Draft",
    "OptionValue",
    "PreparedData",
    "prepare_once",
]
