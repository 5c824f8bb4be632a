"""Whether a folder lies on a file system where SQLite's write-ahead log is not safe.

The log needs memory that all who open the database share, and locks that hold: network and user
space file systems promise neither. Source: https://www.sqlite.org/wal.html and
https://www.sqlite.org/howtocorrupt.html.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

# Kinds as Linux and macOS name them. A plain FUSE mount may be anything, and is mostly remote.
NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "afpfs", "webdav", "davfs", "coda",
    "beegfs", "ceph", "gfs2", "glusterfs", "gpfs", "lustre", "ocfs2", "orangefs", "pvfs2",
    "9p", "vboxsf", "vmhgfs", "fuse", "macfuse", "osxfuse",
})  # fmt: skip
# User space file systems over a local disk: `fuseblk` is another kind, and never remote.
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.gocryptfs", "fuse.encfs"})
REMOTE_DRIVE = 4  # DRIVE_REMOTE of Windows' GetDriveTypeW

_MOUNTINFO = Path("/proc/self/mountinfo")
# `SOURCE on FOLDER (KIND, OPTION, ...)` of macOS' mount.
_MOUNTED = re.compile(r".+ on (?P<folder>/.*) \((?P<kind>[\w.]+)")


def network_kind(folder: Path) -> str:
    """Return the kind of network file system that a folder lies on.

    Nothing where it is none, or where the system does not say.
    """
    kind = file_system(folder)
    if sys.platform == "win32":
        return kind
    return kind if is_network(kind) else ""


def file_system(folder: Path) -> str:
    """Return the kind of file system that a folder lies or will lie on; empty: not known."""
    place = folder.absolute().resolve()
    if sys.platform == "win32":
        return _windows_kind(place)
    try:
        return kind_of(str(place), _mounts())
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def is_network(kind: str) -> bool:
    """Say whether a kind of file system is a network's, or one of user space over one."""
    return kind in NETWORK or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def kind_of(place: str, mounts: Iterable[tuple[str, str]]) -> str:
    """Return the kind of the file system that a path lies on.

    Args:
        place: An absolute path without links.
        mounts: Folder and kind of each mount; of two on a folder the later one hides the other.
    """
    path, found, depth = PurePosixPath(place), "", -1
    for folder, kind in mounts:
        parts = len(PurePosixPath(folder).parts)
        if parts >= depth and path.is_relative_to(folder):
            found, depth = kind, parts
    return found


def linux_mounts(mountinfo: str) -> Iterable[tuple[str, str]]:
    """Yield folder and kind of each mount in the text of /proc/self/mountinfo.

    Source: https://www.kernel.org/doc/html/latest/filesystems/proc.html
    """
    for line in mountinfo.splitlines():
        fields, dash, rest = line.partition(" - ")
        if dash and len(fields.split()) > 4 and rest.split():
            yield _unescaped(fields.split()[4]), rest.split()[0]


def macos_mounts(text: str) -> Iterable[tuple[str, str]]:
    """Yield folder and kind of each line that macOS' `mount` writes."""
    for line in text.splitlines():
        if found := _MOUNTED.match(line):
            yield found["folder"], found["kind"]


def _mounts() -> list[tuple[str, str]]:
    if sys.platform == "darwin":
        done = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, check=True, timeout=5
        )
        return list(macos_mounts(done.stdout))
    return list(linux_mounts(_MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")))


def _unescaped(text: str) -> str:
    r"""Return a path as it is: the kernel writes a blank as `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _windows_kind(place: Path) -> str:
    if str(place).startswith("\\\\"):
        return "a network share"
    if os.name != "nt":
        return ""
    import ctypes

    drive: int = ctypes.windll.kernel32.GetDriveTypeW(place.anchor)  # type: ignore[attr-defined, unused-ignore]  # Windows only
    return "a network drive" if drive == REMOTE_DRIVE else ""


def place_warning(folder: Path) -> str:
    """Return what to say of a study's folder that SQLite is not safe in; nothing if it is."""
    kind = network_kind(folder)
    return kind and (
        f"{folder} lies on a network file system ({kind}), where a crash or a second machine can "
        "damage an SQLite database: keep studies on a local disk (NAS_STUDIES), or in PostgreSQL "
        "(a database URL)"
    )
