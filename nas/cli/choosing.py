"""Which stored study is meant by STUDY on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nas.study import Study

StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A database URL (...#name), a study's folder, or the name of one in ./studies; "
        "the newest one there if left out.",
        show_default=False,
    ),
]


def find_study(text: str | None) -> tuple[Study, str]:
    """Return a stored study and, in words, which one was taken.

    Raises:
        NotFoundError: If there is none.
    """
    from nas.study import newest_study, open_study, studies_folder

    if text is None:
        study = newest_study()
        return study, f"study {study.name}, the newest in {studies_folder()}"
    study = open_study(text)
    if "://" in text:
        return study, f"study {study.name} of the database"
    return study, f"study {study.name} in {shown_path(study.folder)}"


def shown_path(path: Path) -> str:
    """Return a path relative to where we are, if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def study_name(study: Study) -> str:
    """Return what commands and `nas.load` find a study by."""
    from nas.study import studies_folder

    usual = studies_folder().absolute() / study.name
    return study.name if study.folder == usual else shown_path(study.folder)
