"""Real file systems of a few MB for tests, mounted and gone again with them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from needs import lack, need_program

RIGHT = "mounting needs the rights of root: run the tests as root"


@contextmanager
def mounted(folder: Path, *options: str, kind: str = "tmpfs") -> Iterator[Path]:
    """Mount a file system of its own on a folder, which is made; without the right, skip.

    Args:
        folder: Where.
        options: Such as `size=8m`.
        kind: Of file system.
    """
    need_program("mount", "apt-get install -y mount")
    folder.mkdir(parents=True)
    command = ["mount", "-t", kind, *(f"-o{option}" for option in options), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lack(f"{done.stderr.strip()}; {RIGHT}")
    try:
        yield folder
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Let go of whatever is mounted on a folder, also of what is open there."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, *options: str) -> None:
    """Change how a file system is mounted, such as `ro` or `size=9m`."""
    joined = ",".join(("remount", *options))
    subprocess.run(["mount", "-o", joined, str(folder)], check=True, capture_output=True)


class Filler:
    """Takes up what is free on a file system, but for some room.

    Args:
        folder: Anywhere on it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "filler"
        self.path.touch()

    def fill(self, room: int = 0) -> None:
        """Grow until nothing is free, then give `room` bytes back."""
        with self.path.open("ab", buffering=0) as file:
            with suppress(OSError):  # it is full: that is the point
                while True:
                    file.write(bytes(65_536))
            with suppress(OSError):
                while True:
                    file.write(bytes(512))
        os.truncate(self.path, max(0, self.path.stat().st_size - room))

    def free(self) -> None:
        """Give everything back."""
        os.truncate(self.path, 0)


def use_up_inodes(folder: Path) -> Path:
    """Make empty files in a folder of their own until no more can be made; return the folder."""
    place = folder / "many"
    place.mkdir()
    number = 0
    with suppress(OSError):
        while True:
            (place / str(number)).touch()
            number += 1
    return place
