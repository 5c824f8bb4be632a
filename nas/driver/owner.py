"""Who works on a study: the record that lies beside its lock, and whether that process still lives.

Of a process on this machine the system is asked: its number, and when it was started, since
numbers are used again. Of one elsewhere, or where the system does not say, the file tells by its
age: whoever works touches it.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

BEAT_SECONDS = 10.0  # between two touches of the file
STALE_SECONDS = 60.0  # without a touch, after which its owner is taken for dead
MOST_BYTES = 4096  # of such a file
MOST_LETTERS = 64  # of a name in it


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process that works on a study.

    Attributes:
        command: What it does, such as `search`.
        pid: Its number.
        host: Its machine.
        user: Whose it is.
        since: When it took the study, in UTC.
        started: When the process began, as the system of its machine has it; empty: unknown.
    """

    command: str
    pid: int
    host: str
    user: str
    since: str
    started: str

    @classmethod
    def this_process(cls, command: str) -> Self:
        """Return the record of this process."""
        return cls(
            command=command,
            pid=os.getpid(),
            host=_host(),
            user=_user(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            started=started(os.getpid()),
        )

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine and the system can be asked about it."""
        return self.host == _host() and bool(self.started)

    def words(self) -> str:
        """Return who it is: a search of ann on host7 (pid 4711, since 14:02)."""
        since = f", since {self._clock()}" if self._clock() else ""
        what = f"a {self.command} of {self.user} on {self.host}"
        return f"{what} (pid {self.pid}{since})"

    def _clock(self) -> str:
        """Return local time, with the date unless that is today's; nothing for what is no time."""
        try:
            then = datetime.fromisoformat(self.since).astimezone()
        except ValueError:
            return ""
        today = then.date() == datetime.now().astimezone().date()
        return f"{then:%H:%M}" if today else f"{then:%Y-%m-%d %H:%M}"


def read_owner(path: Path) -> Owner | None:
    """Return what an owner's file says; None if it says nothing that can be read.

    It may lie where others write: what is in it is cut short and shown without control characters.

    Raises:
        OSError: If the file is not there or cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES)
    try:
        plain = json.loads(content)
        return Owner(
            pid=int(plain.pop("pid")), **{name: _tame(value) for name, value in plain.items()}
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def write_owner(path: Path, owner: Owner) -> None:
    """Make an owner's file, which must not be there.

    Raises:
        FileExistsError: If it is there: another process was quicker.
        OSError: If it cannot be written.
    """
    with path.open("xb") as file:
        file.write(json.dumps(asdict(owner)).encode())
        file.flush()
        os.fsync(file.fileno())


def is_alive(owner: Owner | None, path: Path) -> bool:
    """Say whether the owner that a file names still lives.

    Args:
        owner: As it was read, if that could be.
        path: The file, whose age decides where the system cannot be asked.

    Raises:
        OSError: If the file is gone.
    """
    if owner is not None and owner.is_here:
        return started(owner.pid) == owner.started
    return age(path) < STALE_SECONDS


def beats(path: Path) -> bool:
    """Watch an owner's file for a little longer than a beat and say whether it was touched.

    Raises:
        OSError: If the file is gone.
    """
    before, until = path.stat().st_mtime_ns, time.monotonic() + BEAT_SECONDS * 1.2
    while time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 20)
        if path.stat().st_mtime_ns != before:
            return True
    return False


def age(path: Path) -> float:
    """Return the seconds since a file was touched, by the clock of its file system.

    A file made now says what time it is there: machines that share a folder may disagree.
    """
    probe = path.with_name(f"{path.name}.{_host()}.{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def started(pid: int) -> str:
    """Return when a process was started, in the system's own terms; empty: there is none.

    Also empty where the system cannot be asked (Windows), so that ages decide there.
    """
    if sys.platform == "linux":
        return _started_on_linux(pid)
    if os.name == "nt":
        return ""
    listed = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607  # where it lies differs
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout.strip()


def _started_on_linux(pid: int) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # After the name, which may hold anything: the state first, the start as the 20th; see proc(5).
    fields = stat.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        return ""  # dead, and not yet waited for
    return f"{boot} {int(fields[19])}"


@cache
def _host() -> str:
    return _tame(platform.node()) or "unknown"


def _user() -> str:
    try:
        return _tame(getpass.getuser())
    except (KeyError, OSError, ImportError):  # a number without a name, as in a container
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _tame(value: Any) -> str:
    """Return text of moderate length that a terminal shows as it is."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return "".join(char for char in value if char.isprintable())[:MOST_LETTERS]
