"""The kinds of error that `nas` raises on purpose; every one of them is a `NasError`.

The command line prints a `NasError` in one line and exits with its `exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

INTERRUPTED = 130  # exit status after Ctrl-C: 128 + SIGINT


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


class ExportError(InputError):
    """A model that a target cannot express, a package that it lacks, or a place that is taken."""


class ParityError(NasError):
    """An export that does not compute what its model computes."""


class StoreError(NasError):
    """The study database is unusable, locked or of another version."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the name closest to `word`, or an empty string."""
    close = get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
