"""What the Linux kernel says of memory: what a new process can have, and whom it has killed.

Elsewhere nothing is said: `None`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

SYSTEM = Path("/")


def kills(root: Path = SYSTEM) -> int | None:
    """Return how many processes the kernel has ended for want of memory; None: it does not say.

    Counted are those of our control group, which a container's limit and the machine's end alike;
    without a group those of the machine.

    Args:
        root: Where `proc` and `sys` are.
    """
    group = _group(root)
    for name in ("memory.events", "memory.oom_control"):
        if (found := _fields(group / name).get("oom_kill")) is not None:
            return found
    return _fields(root / "proc/vmstat").get("oom_kill")


def free_bytes(root: Path = SYSTEM) -> int | None:
    """Return the memory that new processes can have on this machine and in our control group.

    Args:
        root: Where `proc` and `sys` are.
    """
    kilobytes = _fields(root / "proc/meminfo").get("MemAvailable:")
    found = [] if kilobytes is None else [kilobytes * 1024]
    group = _group(root)
    for limit, usage, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, used = _number(group / limit), _number(group / usage)
        if most is not None and used is not None:
            found.append(max(0, most - used + _fields(group / "memory.stat").get(cache, 0)))
    return min(found, default=None)


def _group(root: Path) -> Path:
    """Return the folder of our control group; in a container it may be the root of what is seen."""
    base, path = root / "sys/fs/cgroup", ""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, own = line.split(":", 2)
        if controllers == "memory":
            base, path = root / "sys/fs/cgroup/memory", own
            break
        if not controllers:
            path = own
    group = base / path.lstrip("/")
    return group if group.is_dir() else base


def _fields(path: Path) -> dict[str, int]:
    """Return a file of lines such as `name 12` or `name: 12 kB`."""
    words = [line.split() for line in _lines(path)]
    return {one[0]: int(one[1]) for one in words if len(one) > 1 and one[1].isdecimal()}


def _number(path: Path) -> int | None:
    """Return the number in a file; None if there is none, such as `max` where nothing limits."""
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").splitlines()
    return []
