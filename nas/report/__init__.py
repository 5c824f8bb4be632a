"""The report of a study: one HTML file that needs nothing else, and its plots as pictures.

The way is one direction. `facts` reads a study into one plain record (`material` is what was read,
`clock` its time, `shapes` its shapes, `candidates`, `outcome`, `analysis` and `running` the parts
of the record), `figures` makes plots of the record, `drawing` draws shapes, and `page` writes all
of it as HTML. Nothing but the record reaches the page: equal records give equal bytes. `comparison`
puts several searches side by side (`comparable` says what does not compare), and `compare_page`
writes that.
"""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from pathlib import Path

from nas.errors import DiskError, InputError, disk_fault
from nas.report.facts import gather
from nas.study import Study

FILE = "report.html"  # in a study's folder
LEFT_SECONDS = 60.0  # after which what another process had begun to write is nobody's

__all__ = ["FILE", "gather", "put", "write_report"]


def write_report(study: Study, path: Path | None = None) -> Path:
    """Write the report of a study, which may be running, and return where it is.

    The file is written under a temporary name and renamed, so that who reads an older one never
    sees half of a new one.

    Args:
        study: The study; nothing in it is changed.
        path: Where to; None: `report.html` in the study's folder.

    Raises:
        InputError: If there is no such folder, or the file cannot be written there.
        DiskError: If the disk takes no more.
    """
    from nas.report.page import render

    target = study.folder / FILE if path is None else Path(path)
    put(target, render(gather(study)))
    return target


def put(target: Path, text: str) -> None:
    """Write a page whole or not at all; see `write_report`."""
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file with --out")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        _delete_leftovers(target, temporary.stat().st_mtime)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        full = disk_fault(error)
        kind = DiskError if full else InputError
        raise kind(
            f"{target}: no report can be written: {full or error.strerror}; choose another place "
            "with --out"
        ) from error
    except BaseException:  # a second Ctrl-C
        temporary.unlink(missing_ok=True)
        raise


def _delete_leftovers(target: Path, now: float) -> None:
    """Delete what writers left that were killed in the middle.

    Args:
        target: What they wrote.
        now: The date of a file made now: the file system's clock, which is another machine's maybe.
    """
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > LEFT_SECONDS:
                path.unlink()
