"""Folders on a node of a cluster that last as long as a process there uses them.

Each is guarded by a lock that the kernel lets go of when its holder ends, however that ends: the
last one to use a folder deletes it, and whoever starts on the node deletes what nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from nas.errors import NasError
from nas.executors.ray_files import Files, write_folder

LOCK = ".lock"


class Held:
    """A folder of this node, shared by the processes that hold it by one name.

    Args:
        name: What it is called.
    """

    def __init__(self, name: str) -> None:
        self.folder = _base() / name
        self._lock = (_base() / f"{name}{LOCK}").open("ab")
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def unpack(self, fetch: Callable[[], Files], *, last: str) -> Path:
        """Return the folder with its files, written by whoever of the node comes first.

        Args:
            fetch: Gets the files.
            last: The file that is written last.

        Raises:
            OSError: If the disk is full or the place cannot be written.
        """
        with (_base() / "unpacking").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.folder.exists():
                write_folder(self.folder, fetch(), last=last)
        return self.folder

    def empty(self) -> None:
        """Delete the folder, which only this process may hold."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of the folder; the last one deletes it."""
        _delete_unheld(self._lock.fileno(), self.folder)
        self._lock.close()


def delete_leftovers() -> None:
    """Delete the folders of processes that were killed."""
    for path in _base().glob(f"*{LOCK}"):
        with path.open("ab") as lock:
            _delete_unheld(lock.fileno(), path.with_suffix(""))


def _delete_unheld(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another process uses it
    shutil.rmtree(folder, ignore_errors=True)


def _base() -> Path:
    """Return this user's folder for all of it, which nobody else may look into or prepare.

    Raises:
        NasError: If something else lies in its place.
    """
    folder = Path(tempfile.gettempdir()) / f"nas-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NasError(
            f"{folder}: expected a folder that only user {os.getuid()} can open; "
            "delete it, or set TMPDIR on this node"
        )
    return folder
