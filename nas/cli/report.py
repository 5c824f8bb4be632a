"""`nas report`: the report page of a study, and its plots as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument, find_study, shown_path

if TYPE_CHECKING:
    from nas.study import Study


def report(
    study: StudyArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the page goes; report.html in the study's folder if left out.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write each plot as a PNG there; needs the extra images and a Chrome.",
            show_default=False,
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write the report of a study: one HTML file, its plots inside.

    The file needs no network and no other file. The study may be running: what is known by now is
    shown.
    """
    from nas.report import write_report

    found, how = find_study(study)
    terminal.say(how)
    path = write_report(found, out)
    terminal.say(f"report: {shown_path(path.absolute())}")
    if images is not None:
        _write_images(found, images)
    if open_it:
        _open(path)


def _write_images(found: Study, folder: Path) -> None:
    from nas.report import gather
    from nas.report.images import write_images

    files = write_images(gather(found), folder)
    for file in files:
        terminal.say(f"image: {shown_path(file.absolute())}")
    if not files:
        terminal.say("no image: no plot has anything to show yet")


def _open(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.absolute().as_uri()):
        terminal.aside(f"no browser could be started; open {path.absolute()} yourself")
