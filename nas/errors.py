"""The kinds of error that `nas` raises on purpose; every one of them is a `NasError`.

The command line prints a `NasError` in one line and exits with its `exit_code`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches

INTERRUPTED = 130  # exit status after Ctrl-C: 128 + SIGINT

# What the system says where a disk takes no more, and what that means to a person.
DISK_FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on the disk is used up",
    errno.EROFS: "the file system is read-only",
}
# The same of SQLite, by the beginning of its error's name; see sqlite.org/rescode.html.
DATABASE_FAULTS = {
    "SQLITE_FULL": DISK_FAULTS[errno.ENOSPC],
    "SQLITE_READONLY": "the database cannot be written",
}


class NasError(Exception):
    """Something went wrong that `nas` foresaw; the message says where, what and what to do."""

    exit_code = 1


class InputError(NasError, ValueError):
    """What the user gave is wrong: a file, a name, an option or a value."""

    exit_code = 2


class ConfigError(InputError):
    """A search space or study file is wrong; the message starts with `file: key.path:`."""


class ShapeError(InputError):
    """A shape that no model of its family can have."""


class DataError(InputError):
    """Data that is missing, unreadable, empty or too short."""


class DeviceError(InputError):
    """A device that is unknown or not on this machine."""


class NotFoundError(InputError):
    """A study, candidate, space, family or task that does not exist."""


class ArtifactError(InputError):
    """A model folder that is incomplete, altered or not a model folder."""


class CheckpointError(ArtifactError):
    """A checkpoint that is missing, altered or another candidate's: training begins anew."""


class UntrustedError(InputError):
    """Code outside nas that a file, a folder or a database names and nobody has vouched for."""


class ExportError(InputError):
    """A model that a target cannot express, a package that it lacks, or a place that is taken."""


class ParityError(NasError):
    """An export that does not compute what its model computes."""


class StoreError(NasError):
    """The study database is unusable, locked or of another version."""


class DiskError(NasError):
    """A disk that is full or cannot be written: nobody's mistake, and work goes on after it."""


def disk_fault(error: BaseException | None) -> str:
    """Return in words why a disk took no more, if that is what an error comes from; else nothing.

    Args:
        error: Whatever was raised; what it came from is looked at too.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            return DISK_FAULTS[error.errno]
        name = str(getattr(error, "sqlite_errorname", ""))
        for begin, words in DATABASE_FAULTS.items():
            if name.startswith(begin):
                return words
        error = error.__cause__ or error.__context__
    return ""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the name closest to `word`, or an empty string."""
    close = get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
