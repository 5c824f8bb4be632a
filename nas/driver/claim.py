"""One writer a study: a lock on its folder, and beside it a file that says whose it is.

The lock decides where the file system has locks: it ends with the process, however that ends, and
no clock has a part in it. Where there are none, or they hold on one machine only, the owner's file
decides (see `owner`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from nas.driver.owner import (
    BEAT_SECONDS,
    STALE_SECONDS,
    Owner,
    beats,
    is_alive,
    read_owner,
    write_owner,
)
from nas.errors import InputError, NasError

LOCK, OWNER = "search.lock", "search.owner"
UNKNOWN = Owner(command="search", pid=0, host="?", user="?", since="", started="")

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Claim:
    """The right to write a study, until it is closed; a context manager.

    Attributes:
        note: Whose claim was taken over, since its process is dead; empty: nobody's.
    """

    def __init__(self, folder: Path, file: IO[bytes], owner: Owner, *, locked: bool) -> None:
        self.note = ""
        self._folder, self._path = folder, folder / OWNER
        self._file, self._owner, self._locked = file, owner, locked
        self._lost = False
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claim", daemon=True)

    def _take(self) -> Self:
        dead = self._dead_owner()
        write_owner(self._path, self._owner)
        if dead is not None:
            self.note = f"{dead.words()} ended without a word; its study was taken over"
        self._heart.start()
        return self

    def _dead_owner(self) -> Owner | None:
        """Return who left an owner's file behind, now deleted.

        Raises:
            InputError: If that process lives.
        """
        try:
            found = read_owner(self._path)
            if self._lives(found):
                raise _at_work(self._folder, found)
            if self._locked:
                self._path.unlink()
            else:
                self._move_away(found)
        except FileNotFoundError:
            return None
        return found

    def _move_away(self, dead: Owner | None) -> None:
        """Delete the file of a dead owner, unless another process was quicker to take over."""
        aside = self._path.with_name(f"{OWNER}.{self._owner.pid}")
        self._path.rename(aside)
        if read_owner(aside) != dead:
            aside.replace(self._path)
            raise _at_work(self._folder, read_owner(self._path))
        aside.unlink()

    def _lives(self, found: Owner | None) -> bool:
        if not self._locked:
            return is_alive(found, self._path)
        # With the lock in our hand an owner on this machine is dead, or it would have it. Of one
        # elsewhere that worked lately the lock says nothing if it holds on one machine only.
        if found is None or found.host == self._owner.host:
            return False
        return is_alive(found, self._path) and beats(self._path)

    def check(self) -> None:
        """Do nothing as long as the study is ours.

        Raises:
            NasError: If another process took it over, since this one stood still for too long.
        """
        if self._lost:
            raise NasError(
                f"study '{self._folder.name}': this process stood still for more than "
                f"{STALE_SECONDS:.0f} s and another one has taken the study over; it ends here"
            )

    def _beat(self) -> None:
        """Touch the owner's file now and then, and see that it is still ours."""
        while not self._left.wait(BEAT_SECONDS):
            try:
                if read_owner(self._path) == self._owner:
                    os.utime(self._path)
                    continue
            except FileNotFoundError:
                pass
            except OSError:
                continue  # the file system does not answer now; the next beat asks again
            self._lost = not self._locked

    def close(self) -> None:
        """Let go of the study."""
        self._left.set()
        self._heart.join()
        # What cannot be deleted now is found to be of a dead process later.
        with contextlib.suppress(OSError):
            if read_owner(self._path) == self._owner:
                self._path.unlink()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def claim(folder: Path, command: str = "search") -> Claim:
    """Take a study for this process; closing what is returned lets it go.

    A second writer would take what the first has in the making for the leftovers of a crash.

    Args:
        folder: The study's.
        command: What the study is taken for, in a word.

    Raises:
        InputError: If another process, or another search in this one, works on the study.
        OSError: If the folder cannot be written.
    """
    file = (folder / LOCK).open("ab")
    try:
        locked = _locked(file, folder)
        return Claim(folder, file, Owner.this_process(command), locked=locked)._take()
    except FileExistsError:  # made by another process since we looked
        file.close()
        raise _at_work(folder, _owner_of(folder)) from None
    except BaseException:
        file.close()
        raise


def at_work(folder: Path) -> Owner | None:
    """Return who works on a study, None if nobody does; nothing is taken or changed."""
    path = folder / OWNER
    try:
        owner = read_owner(path) or UNKNOWN
        return owner if is_alive(owner, path) else None
    except FileNotFoundError:
        return None
    except OSError:  # a folder that may only be read: by this machine's clock, then
        return owner if time.time() - path.stat().st_mtime < STALE_SECONDS else None


def _locked(file: IO[bytes], folder: Path) -> bool:
    """Take the lock; return False where the file system has none."""
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        raise _at_work(folder, _owner_of(folder)) from None
    except OSError:
        return False
    return True


def _owner_of(folder: Path) -> Owner | None:
    try:
        return read_owner(folder / OWNER)
    except OSError:
        return None


def _at_work(folder: Path, owner: Owner | None) -> InputError:
    who = "another search or training" if owner is None else owner.words()
    here = owner is None or owner.is_here
    dead = "" if here else f"; if it is dead, this is seen within {STALE_SECONDS:.0f} s"
    return InputError(
        f"study '{folder.name}': {who} is at work in {folder}; "
        f"let it end, or stop it with Ctrl-C, which keeps everything{dead}"
    )
