"""What a user may name as data, and how to know it again: documents and their signature.

Documents are ordered by the sha256 of their content, so that neither file names nor the file
system decide what is trained on. A single file stays as it is, first byte to last.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nas.data.corpora import PREFIX, read_corpus
from nas.data.prepared import PreparedData
from nas.data.tables import read_texts_jsonl
from nas.data.text_files import read_text_path, unreadable
from nas.errors import DataError, nearest

Reader = Callable[[], Any]


def read_documents(source: str) -> list[bytes]:
    """Read the documents of a source, ordered by content; empty ones are left out.

    Args:
        source: A text file, a `.jsonl` file with a `text` in each line (both also `.gz`), a
            folder of text files, or `builtin:NAME`.

    Raises:
        DataError: If there is nothing to read, or it is not UTF-8 text.
    """
    found = read_corpus(source) if is_builtin(source) else _read_path(local_path(source))
    documents = sorted(filter(None, found), key=_digest)
    if not documents:
        raise DataError(f"{source}: empty; there is no text to learn from")
    return documents


def _read_path(path: Path) -> list[bytes]:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    if name.suffix.lower() == ".jsonl" and not path.is_dir():
        return [text.encode() for text in read_texts_jsonl(path, "text")]
    return read_text_path(path)


def signature(sources: Mapping[str, str]) -> str:
    """Return the sha256 of what the sources hold now; empty if all are built in.

    File names have no part in it; the folders that files lie in have, since they may be classes.

    Raises:
        DataError: If a source is missing or cannot be read.
    """
    paths = {name: local_path(source) for name, source in sources.items() if not is_builtin(source)}
    digest = hashlib.sha256()
    for name, path in sorted(paths.items()):
        digest.update(f"{name}\n".encode())
        for line in sorted(_file_lines(path)):
            digest.update(line.encode())
    return digest.hexdigest() if paths else ""


def source_changed(prepared: PreparedData, sources: Mapping[str, str]) -> bool:
    """Say whether sources no longer hold what the prepared data was made from.

    The prepared folder is the study's own copy, so a source that is gone or out of reach is no
    change, and neither is a built-in corpus that another Python has in another version.

    Raises:
        DataError: If a source is there but cannot be read.
    """
    files = [local_path(source) for source in sources.values() if not is_builtin(source)]
    if not files or not all(is_there(path) for path in files):
        return False
    return signature(sources) != prepared.info.source_sha256


def _file_lines(path: Path) -> Iterator[str]:
    """Yield folder and digest of each file of a source."""
    try:
        if not path.is_dir():
            yield f"{_file_digest(path)}\n"
            return
        for parent, folders, names in os.walk(path, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(parent).relative_to(path).as_posix()
            for name in names:
                file = Path(parent, name)
                if not name.startswith(".") and file.is_file():
                    yield f"{inside} {_file_digest(file)}\n"
    except OSError as error:
        raise unreadable(path, error) from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _raise(error: OSError) -> None:
    raise error


def is_builtin(source: str) -> bool:
    """Say whether the source names a built-in corpus."""
    return source.startswith(PREFIX)


def builtin_name(source: str, known: Mapping[str, Reader]) -> Reader:
    """Return what reads a built-in source.

    Raises:
        DataError: If a task has none of this name.
    """
    name = source.removeprefix(PREFIX)
    if name not in known:
        names = ", ".join(PREFIX + one for one in known)
        raise DataError(
            f"{source}: no such data for this task; known: {names}{nearest(name, known)}"
        )
    return known[name]


def is_there(path: Path) -> bool:
    """Say whether a path exists and can be reached."""
    try:
        return path.exists()
    except OSError:
        return False


def find_source(source: str, *, beside: Path) -> str:
    """Return the source, or its place in the folder `beside` if only there it exists."""
    if is_builtin(source) or is_there(local_path(source)) or not is_there(beside / source):
        return source
    return str(beside / source)


def _digest(document: bytes) -> bytes:
    return hashlib.sha256(document).digest()


def local_path(source: str) -> Path:
    """Return the path that a source names; `~` is the user's home.

    Raises:
        DataError: If there is no such home.
    """
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(f"{source}: {error}; write the whole path") from error
