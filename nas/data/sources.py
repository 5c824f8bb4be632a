"""What a user may name as data, and how to know it again: documents and their signature.

Documents are ordered by the sha256 of their content, so that neither file names nor the file
system decide what is trained on. A single file stays as it is, first byte to last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from nas.data.corpora import PREFIX, read_corpus
from nas.data.prepared import PreparedData
from nas.data.text_files import read_text_path
from nas.errors import DataError


def read_documents(source: str) -> list[bytes]:
    """Read the documents of a source, ordered by content; empty ones are left out.

    Args:
        source: A text file (`.gz` too), a folder of text files, or `builtin:NAME`.

    Raises:
        DataError: If there is nothing to read, or it is not UTF-8 text.
    """
    found = read_corpus(source) if is_builtin(source) else read_text_path(_path(source))
    documents = sorted(filter(None, found), key=_digest)
    if not documents:
        raise DataError(f"{source}: empty; there is no text to learn from")
    return documents


def source_signature(source: str) -> str:
    """Return the sha256 of the source's content as it is now; file names have no part in it.

    Raises:
        DataError: As for `read_documents`.
    """
    return signature_of(read_documents(source))


def source_changed(prepared: PreparedData, source: str) -> bool:
    """Say whether a source no longer holds what the prepared data was made from.

    The prepared folder is the study's own copy, so a source that is gone or out of reach is no
    change, and neither is a built-in corpus that another Python has in another version.

    Raises:
        DataError: If the source is there but cannot be read.
    """
    if is_builtin(source) or not is_there(_path(source)):
        return False
    return source_signature(source) != prepared.info.source_sha256


def signature_of(documents: Iterable[bytes]) -> str:
    """Return the sha256 over the documents' own, in their order."""
    return hashlib.sha256(b"".join(map(_digest, documents))).hexdigest()


def is_builtin(source: str) -> bool:
    """Say whether the source names a built-in corpus."""
    return source.startswith(PREFIX)


def is_there(path: Path) -> bool:
    """Say whether a path exists and can be reached."""
    try:
        return path.exists()
    except OSError:
        return False


def find_source(source: str, *, beside: Path) -> str:
    """Return the source, or its place in the folder `beside` if only there it exists."""
    if is_builtin(source) or is_there(_path(source)) or not is_there(beside / source):
        return source
    return str(beside / source)


def _digest(document: bytes) -> bytes:
    return hashlib.sha256(document).digest()


def _path(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(f"{source}: {error}; write the whole path") from error
