"""The report that a search leaves behind, however it ends. No report is worth a search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nas.driver.events import Listener, Note
from nas.driver.search import SearchInterrupted
from nas.errors import DiskError, NasError, StoreError
from nas.study import Study


@contextmanager
def leaving_report(study: Study, listener: Listener) -> Iterator[None]:
    """Write the study's report when the work inside has ended, also if it was cut short.

    Not where the disk takes no more or the database is away: both are wanted back first.

    Args:
        study: The study.
        listener: Told where the report of a search is that was cut short, and why there is none.
    """
    try:
        yield
    except (DiskError, StoreError):
        raise
    except (SearchInterrupted, NasError):
        write_or_tell(study, listener, told=True)
        raise
    write_or_tell(study, listener, told=False)


def write_if_missing(study: Study, listener: Listener) -> None:
    """Write the report of a finished study that has none, since its search was killed at its end.

    Args:
        study: The study.
        listener: Told of a failure.
    """
    from nas.report import FILE

    if not (study.folder / FILE).exists():
        write_or_tell(study, listener, told=False)


def write_or_tell(study: Study, listener: Listener, *, told: bool) -> None:
    """Write a study's report; a failure is a line, not an error.

    Args:
        study: The study.
        listener: Told of a failure.
        told: Whether it is told where the report is, too.
    """
    from nas.report import write_report  # what it needs is not needed before

    try:
        path = write_report(Study(url=study.url, folder=study.folder, name=study.name))
    except Exception as error:  # whatever it is, the search is stored and must end as it did
        words = str(error).partition("\n")[0] or type(error).__name__
        text = f"no report was written: {words}; try: nas report {study.name}"
        listener(Note(text=text))
        return
    if told:
        listener(Note(text=f"report: {path}"))
