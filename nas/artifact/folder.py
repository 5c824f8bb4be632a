"""Files of a folder that nobody vouches for: where they lie, what they are, what JSON they hold.

A file is opened only where it is a plain one inside the folder: links are not followed, and a
pipe, which would block, or a device is refused before it is opened.
"""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

from nas.errors import ArtifactError

MAX_JSON_BYTES = 1 << 20
_MAX_PROBLEM = 400  # characters of a message; what it quotes is a stranger's


def broken(folder: Path, name: str, problem: str) -> ArtifactError:
    """Return the error that names a file of a model folder and what is wrong with it.

    The problem may quote the file: it is cut to one line of moderate length, and what a terminal
    could take for a command is escaped.
    """
    line = " ".join(problem.split())  # a library's message may have several lines
    line = "".join(
        char if char.isprintable() else repr(char)[1:-1] for char in line[:_MAX_PROBLEM]
    ) + ("..." if len(line) > _MAX_PROBLEM else "")
    return ArtifactError(f"{folder / name}: {line}; restore the folder from its source")


def plain_file(folder: Path, name: str) -> tuple[Path, int]:
    """Return path and size of a regular file by its name within the folder.

    Args:
        folder: A model folder; it may itself be reached over a link.
        name: Parts between single slashes.

    Raises:
        ArtifactError: If the name climbs out of the folder, a part of it is a link, or there is no
            regular file.
    """
    parts = name.split("/")
    if not all(_is_plain_name(part) for part in parts):
        raise broken(folder, "nas.json", f"names a file outside the folder: {name!r}")
    path, mode, size = folder, stat.S_IFDIR, 0
    for part in parts:
        path = path / part
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise broken(folder, name, "is missing") from error
        except OSError as error:
            raise broken(folder, name, f"cannot be read ({error.strerror})") from error
        mode, size = status.st_mode, status.st_size
        if stat.S_ISLNK(mode):
            raise broken(folder, name, "is a link; links are not followed")
    if not stat.S_ISREG(mode):
        raise broken(folder, name, "is not a file")
    return path, size


def read_json(folder: Path, name: str, *, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the mapping that a JSON file of the folder holds.

    Args:
        folder: A model folder.
        name: The file's, as in `plain_file`.
        most: Bytes that are read.

    Raises:
        ArtifactError: If it is no regular file, longer than that, no JSON, gives a key
            twice, has a number that is not finite, or holds no mapping.
    """
    path, size = plain_file(folder, name)
    if size > most:
        raise broken(folder, name, f"is larger than {most} bytes")
    try:
        plain = json.loads(
            path.read_bytes(),
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=_without_repeats,
        )
    except OSError as error:
        raise broken(folder, name, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise broken(folder, name, f"is not JSON ({error})") from error
    if not isinstance(plain, dict):
        raise broken(folder, name, f"expected a mapping, got {type(plain).__name__}")
    return plain


def _is_plain_name(part: str) -> bool:
    if part in ("", ".", "..") or not part.isprintable():
        return False
    # What is a separator or a drive elsewhere; on this system too, so that folders travel.
    return "\\" not in part and ":" not in part


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number of JSON")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' is there twice")
        found[key] = value
    return found
