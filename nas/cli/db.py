"""`nas db`: look a study's database over, or bring it to today's schema."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument
from nas.cli.tables import Format, FormatOption, show_pairs, show_rows

if TYPE_CHECKING:
    from nas.driver.checking import Finding


class Action(StrEnum):
    """What `nas db` does."""

    CHECK = "check"
    UPGRADE = "upgrade"


def db(
    action: Annotated[Action, typer.Argument(help="What is done.", show_default=False)],
    study: StudyArgument = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Check a study's database, or upgrade its schema.

    check changes nothing: it asks whether the database can be reached and is whole, whether its
    rows agree with each other, with the models in the study's folder and with Optuna's mirror.
    The exit status is 1 if anything is wrong. A URL without #NAME means all studies in it.

    upgrade brings a database that an older nas wrote to the schema of this one. A search does so
    by itself, and so does any command with a SQLite file; a server's database is left alone by
    commands that only read, since others may use it with an older nas.
    """
    from nas.places import find_place, newest_place

    place = newest_place() if study is None else find_place(study)
    if action is Action.UPGRADE:
        _upgrade(place.url)
        return
    from nas.driver.checking import check

    found = check(place)
    if form is Format.TABLE:
        _show(found)
    else:
        columns = ("study", "check", "result", "found")
        cells = [(one.study, one.name, one.result, one.found) for one in found]
        show_rows([dict(zip(columns, row, strict=True)) for row in cells], form, columns)
    if not all(finding.ok for finding in found):
        raise typer.Exit(1)


def _show(found: Sequence[Finding]) -> None:
    """Write what was found, all of it: a line or more a check."""
    for study, findings in groupby(found, key=lambda one: one.study):
        if study is not None:
            terminal.heading(f"study {study}")
        show_pairs({one.name: f"{one.result}: {one.found}" for one in findings})


def _upgrade(url: str) -> None:
    from nas.store.store import Store
    from nas.store.urls import database_url, shown

    before, after = Store.upgrade(url)
    where = shown(database_url(url))
    if before == after:
        terminal.say(f"{where}: has schema {after} already, which this nas reads")
    else:
        terminal.say(f"{where}: upgraded from schema {before} to {after}")
