"""Built-in data for each task, read from what Python or a dependency ships; nothing is fetched.

All of it is deterministic for one Python (and one scikit-learn).
"""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.corpora import is_library_file
from nas.data.pictures import VISION_HINT
from nas.errors import DataError

PACKAGES = 12  # classes of `docstrings`, those with most examples
LEAST_CALLS = 5  # of a user in `name_log`
LEAST_USES = 20  # of an item in `name_log`

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings() -> tuple[list[str], list[str]]:
    """Return docstrings of the standard library, and the package that each comes from.

    The package's own name is left out of its docstrings, where it stands as a word.
    """
    seen: dict[str, str] = {}
    for package, tree in _library():
        for node in ast.walk(tree):
            if isinstance(node, Definition) and (text := ast.get_docstring(node)):
                hidden = re.sub(rf"(?i)\b{re.escape(package)}\b", "", text).strip()
                if len(hidden) >= 20:
                    seen.setdefault(hidden, package)
    counts = Counter(seen.values())
    kept = {name for name, _ in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:PACKAGES]}
    rows = [(text, package) for text, package in seen.items() if package in kept]
    return [text for text, _ in rows], [package for _, package in rows]


def function_names() -> tuple[list[str], list[str]]:
    """Return first sentences of functions' docstrings, and the functions' names in words."""
    seen: dict[str, str] = {}
    for _, tree in _library():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text, name = ast.get_docstring(node), _in_words(node.name)
            if text and name and not node.name.startswith(("_", "test")):
                sentence = re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip())[0]
                seen.setdefault(" ".join(sentence.split()), name)
    rows = [(text, name) for text, name in seen.items() if len(text) >= 10]
    return [text for text, _ in rows], [name for _, name in rows]


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return scikit-learn's handwritten digits: pixels (1797, 8, 8, 1) and labels.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Raises:
        DataError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(f"builtin:digits needs scikit-learn; {VISION_HINT}") from error
    found: Any = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    return pixels, found.target.astype(np.int64)


def name_log() -> dict[str, list[str]]:
    """Return a log of names: user (a function or class), item (a name it calls), time (its place).

    Only names that are called at least `LEAST_USES` times count, and users that call `LEAST_CALLS`.
    """
    calls: dict[str, list[tuple[int, str]]] = {}
    for number, (package, tree) in enumerate(_library()):
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                calls[f"{package}.{number}.{node.name}"] = sorted(_called(node))
    uses = Counter(name for found in calls.values() for _, name in found)
    log: dict[str, list[str]] = {"user": [], "item": [], "time": []}
    for user, found in calls.items():
        kept = [name for _, name in found if uses[name] >= LEAST_USES]
        if len(kept) >= LEAST_CALLS:
            log["user"] += [user] * len(kept)
            log["item"] += kept
            log["time"] += map(str, range(len(kept)))
    return log


def _called(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield place and name of each call below a node."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            place = inner.lineno * 1000 + min(inner.col_offset, 999)
            if isinstance(inner.func, ast.Name):
                yield place, inner.func.id
            elif isinstance(inner.func, ast.Attribute):
                yield place, inner.func.attr


def _in_words(name: str) -> str:
    """Return `readText` and `read_text` as `read text`."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return " ".join(part for part in parts if part)


@cache
def _library() -> list[tuple[str, ast.Module]]:
    """Return package and syntax tree of each module of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not is_library_file(inside):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in other people's text
                found.append((inside.with_suffix("").parts[0], ast.parse(path.read_bytes())))
        except (SyntaxError, ValueError):
            continue  # a template or a test of the parser: no module
    if not found:
        raise DataError(f"no .py files in {root}: this Python keeps its library elsewhere")
    return found
