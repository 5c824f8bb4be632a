"""`nas rm`: delete a study's folder with everything in it."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import shown_path
from nas.cli.wording import several, size
from nas.errors import InputError, NasError

if TYPE_CHECKING:
    from nas.study import Study

# All that a search puts in a study's folder.
PARTS = frozenset(
    {
        "study.db",
        "study.db-wal",
        "study.db-shm",
        "study.db-journal",
        "models",
        "checkpoints",
        "data",
        "report.html",
        "search.log",
        "search.lock",
    }
)


def rm(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's name or folder; no database URL.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a study: its database, models, checkpoints and data."""
    from nas.study import open_study

    if "://" in study:
        raise InputError("rm: got a database URL; name the study's folder")
    found = open_study(study)
    _check_folder(found.folder)
    _check_idle(found.folder)
    _show_what_goes(found)
    if not yes and not _confirmed():
        terminal.say("nothing was deleted")
        raise typer.Exit(1)
    try:
        shutil.rmtree(found.folder)
    except OSError as error:
        raise NasError(f"{found.folder}: cannot be deleted: {error.strerror}") from error
    terminal.say(f"deleted {shown_path(found.folder)}")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is not a study's and nothing else, right in the studies folder."""
    from nas.study import studies_folder

    if folder.is_symlink():
        raise InputError(f"{folder}: is a link; delete what it points to by its own name")
    place = folder.resolve().parent
    if place != studies_folder().resolve():
        raise InputError(
            f"{folder}: lies outside {studies_folder()}, where nothing is deleted; "
            f"to delete it, set NAS_STUDIES={place}"
        )
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in PARTS)
    if foreign:
        raise InputError(
            f"{folder}: holds '{foreign[0]}', which no search put there; move it away first"
        )


def _check_idle(folder: Path) -> None:
    from nas.driver.claim import claim

    with suppress(OSError):  # what cannot be written has no search at work
        claim(folder).close()


def _show_what_goes(study: Study) -> None:
    files = [path for path in study.folder.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    rows = study.trials()
    kept = sum(row.model_path is not None for row in rows)
    terminal.say(
        f"{shown_path(study.folder)}: {several(len(rows), 'candidate')}, {several(kept, 'model')}, "
        f"{size(total)}"
    )


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise InputError("rm: there is no terminal to ask at; confirm with --yes")
    return typer.confirm("delete all of it?")
