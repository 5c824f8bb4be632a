"""Processes as tests and benchmarks look at them, straight from Linux' /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_until(true: Callable[[], T], seconds: float = 60.0, pause: float = 0.02) -> T:
    """Return what a function returns as soon as that is true of it."""
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, f"it did not come to that in {seconds:.0f} s"
        time.sleep(pause)
    return found


def lives(pid: int) -> bool:
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def gone_within(seconds: float, pids: Iterable[int]) -> None:
    """See that processes end in time."""
    left = set(pids)
    wait_until(lambda: not {pid for pid in left if lives(pid)}, seconds, pause=0.1)


def named(word: str) -> set[int]:
    """Return the processes whose command has a word."""
    return {pid for pid, _, command in _all() if word in command}


def workers_of(pid: int) -> list[int]:
    """Return the worker processes that a driver has started."""
    return sorted(own for own, parent, said in _all() if parent == pid and "nas.worker" in said)


def family(pid: int) -> set[int]:
    """Return a process and all that are below it."""
    parents = {own: parent for own, parent, _ in _all()}
    found = {pid}
    while more := {own for own, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets_of(pid: int) -> set[str]:
    """Return the inodes of the sockets that a process holds."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(link.readlink())
        except OSError:  # closed in between
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def _all() -> list[tuple[int, int, str]]:
    """Return id, parent and command of each process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found.append((int(path.name), parent, command))
    return found
