"""Look at running text: a file, a folder of files, or a file for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.data.request import WHOLE
from nas.data.sources import read_documents
from nas.errors import DataError
from nas.proposal.sight import Sight, repeated_notes

TASK = "language_modeling"
LEAST_BYTES = 400  # a split of a tenth still holds a context of 16 and more


def look_at_text(files: Mapping[str, Path]) -> Sight:
    """Return what is in text files.

    Args:
        files: `{"all": PATH}`, or a file for each split.

    Raises:
        DataError: If they are no text, or too short to learn from.
    """
    documents = {name: read_documents(str(path)) for name, path in files.items()}
    everything = [text for found in documents.values() for text in found]
    size = sum(map(len, everything))
    data = {name: str(path) for name, path in files.items()}
    first = next(iter(data.values()))
    if size < LEAST_BYTES:
        raise DataError(
            f"{first}: {size} bytes of text; a search needs {LEAST_BYTES} at least, and thousands "
            "to learn anything"
        )
    return Sight(
        task=TASK,
        data=data.get(WHOLE) or data,
        words=text_words(len(everything), size),
        examples=size,
        bytes=size,
        notes=(*repeated_notes(everything, "texts"), *_table_notes(files)),
    )


def text_words(count: int, size: int) -> str:
    """Return how much text there is."""
    texts = "" if count == 1 else f" in {count:,} texts"
    return f"{size:,} bytes of text{texts}"


def _table_notes(files: Mapping[str, Path]) -> list[str]:
    """Say what a file with another common use is read as."""
    path = next(iter(files.values()))
    if path.suffix.lower() in (".csv", ".tsv", ".json"):
        return [f"{path.name} is read as plain text, byte by byte, and not as a table"]
    return []
