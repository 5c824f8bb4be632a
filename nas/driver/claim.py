"""One writer a study: a lock on its folder, which ends with the process, however that ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from nas.errors import InputError

LOCK = "search.lock"

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def claim(folder: Path) -> IO[bytes]:
    """Take a study for this process; closing what is returned lets it go.

    A second writer would take what the first has in the making for the leftovers of a crash.

    Raises:
        InputError: If another process, or another search in this one, works on the study.
        OSError: If the folder cannot be written.
    """
    file = (folder / LOCK).open("ab")
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        file.close()
        raise InputError(
            f"study '{folder.name}': another search or training is at work in {folder}; "
            "let it end, or stop it with Ctrl-C, which keeps everything"
        ) from None
    except OSError:
        return file  # a file system without locks: nothing can be told of others
    return file
