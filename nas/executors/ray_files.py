"""Files and folders as arrays of bytes, which travel to another machine, and back again.

A file or folder that is written is there whole or not at all.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Content = NDArray[np.uint8]
Files = dict[str, Content]  # by name, relative to their folder


def read_file(path: Path) -> Content:
    """Return a file's bytes, mapped into memory: they outlive the file's name.

    Raises:
        OSError: If it cannot be read.
    """
    if path.stat().st_size == 0:  # nothing can be mapped
        return np.zeros(0, dtype=np.uint8)
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))


def read_folder(folder: Path) -> Files:
    """Return all files below a folder but hidden ones.

    Raises:
        OSError: If one cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    shown = [path for path in paths if not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): read_file(path) for path in shown}


def write_file(path: Path, content: Content) -> None:
    """Write a file under another name, flush it and rename it.

    Raises:
        OSError: If the disk is full or the place cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _write(part, content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_folder(folder: Path, files: Files, *, last: str) -> None:
    """Write a folder under another name and rename it; one that is there is replaced.

    Args:
        folder: Where it goes.
        files: What it holds.
        last: The file whose existence means that the folder is complete.

    Raises:
        OSError: If the disk is full or the place cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a process of this number that died
        temporary.mkdir(parents=True)
        for name in sorted(files, key=lambda name: (name == last, name)):
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, files[name])
        for place, _, _ in os.walk(temporary):
            _flush_folder(Path(place))
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _write(path: Path, content: Content) -> None:
    with path.open("wb") as file:
        file.write(content.data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
