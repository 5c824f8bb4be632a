"""Corpora that every Python brings along, so that a first search needs no download.

They differ between Python versions; a study therefore keeps its own copy (see `prepared`).
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from nas.data.text_files import read_text_file
from nas.errors import DataError, nearest

PREFIX = "builtin:"

# Folders of the standard library that hold tests or other people's packages.
_NOT_LIBRARY = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages"})


def read_corpus(source: str) -> list[bytes]:
    """Return the documents of a built-in corpus, such as `builtin:python-docs`.

    Raises:
        DataError: If no corpus has this name or this Python was installed without it.
    """
    name = source.removeprefix(PREFIX)
    if name not in CORPORA:
        raise DataError(
            f"unknown corpus '{source}'; known: {', '.join(PREFIX + known for known in CORPORA)}"
            f"{nearest(name, CORPORA)}"
        )
    return CORPORA[name]()


def is_library_file(inside: Path) -> bool:
    """Say whether a path within the standard library is its own, neither a test nor installed."""
    return _NOT_LIBRARY.isdisjoint(inside.parts)


def _python_docs() -> list[bytes]:
    """Return the topics of Python's language reference, about 0.47 MB of prose."""
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DataError(
            f"{PREFIX}python-docs: this Python was installed without it; "
            f"use {PREFIX}python-source or a text file"
        ) from error
    return [text.encode() for text in topics.values()]


def _python_source() -> list[bytes]:
    """Return the standard library's `.py` files without its tests, about 12 MB."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [
        path for path in sorted(library.rglob("*.py")) if is_library_file(path.relative_to(library))
    ]
    if not files:
        raise DataError(
            f"{PREFIX}python-source: no .py files in {library}; give a text file instead"
        )
    return [read_text_file(path) for path in files]


CORPORA: dict[str, Callable[[], list[bytes]]] = {
    "python-docs": _python_docs,
    "python-source": _python_source,
}
