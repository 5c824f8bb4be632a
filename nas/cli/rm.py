"""`nas rm`: delete a study's folder with everything in it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import shown_path
from nas.cli.wording import several, size
from nas.errors import InputError, NasError, NotFoundError

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
        "database.json",
        "search.lock",
        "search.owner",
    }
)


def rm(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A study's name or folder, or where a server has it its URL#NAME.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a study: its database, models, checkpoints and data.

    Of a server's database only what is the study's goes. By URL#NAME one is deleted there whose
    folder is gone or on another machine.
    """
    from nas.driver.removing import idle, owns_folder, remove
    from nas.places import find_place
    from nas.store.address import has_address
    from nas.study import open_study

    place = find_place(study)
    if "://" in study and place.folder is not None:
        raise InputError("rm: got the database URL of a file; name the study's folder")
    try:
        found = open_study(study)
    except NotFoundError:
        if place.folder is None or not has_address(place.folder):
            raise
        _remove_rest(place.folder, yes=yes)
        return
    if owns_folder(found):
        _check_folder(found.folder)
    words = _words(found)
    with idle(found) as store:
        _show_what_goes(found, words)
        _confirm(yes=yes)
        try:
            remove(found, store)
        except OSError as error:
            raise NasError(f"{found.folder}: cannot be deleted: {error.strerror}") from error
    terminal.say(f"deleted {words}")


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


def _remove_rest(folder: Path, *, yes: bool) -> None:
    """Delete a folder whose study is in its database no more, or not yet."""
    _check_folder(folder)
    terminal.say(f"{shown_path(folder)}: its study is not in the database; only the folder is left")
    _confirm(yes=yes)
    shutil.rmtree(folder)
    terminal.say(f"deleted {shown_path(folder)}")


def _show_what_goes(study: Study, words: str) -> None:
    from nas.driver.removing import owns_folder

    here = study.folder.rglob("*") if owns_folder(study) else ()
    files = [path for path in here if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    rows = study.trials()
    kept = sum(row.model_path is not None for row in rows)
    terminal.say(
        f"{words}: {several(len(rows), 'candidate')}, {several(kept, 'model')}, {size(total)}"
    )


def _words(study: Study) -> str:
    """Return where a study is, in words: its folder, and the database that is not in it."""
    from nas.driver.removing import owns_folder
    from nas.store.address import has_address

    if not owns_folder(study):
        return f"{study.database}#{study.name}"
    elsewhere = f" and {study.database}#{study.name}" if has_address(study.folder) else ""
    return f"{shown_path(study.folder)}{elsewhere}"


def _confirm(*, yes: bool) -> None:
    """Go on only if the user says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("rm: there is no terminal to ask at; confirm with --yes")
    if not typer.confirm("delete all of it?"):
        terminal.say("nothing was deleted")
        raise typer.Exit(1)
