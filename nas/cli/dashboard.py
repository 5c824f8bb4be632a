"""`nas dashboard`: optuna-dashboard on a study's mirror, for this machine alone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument, find_study
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.cli.serving import Dashboard
    from nas.study import Study

PORT = 8080  # optuna-dashboard's own


def dashboard(
    study: StudyArgument = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="The port; 0 for any that is free. By itself 8080, if that is free.",
            show_default=False,
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")
    ] = True,
) -> None:
    """Open optuna-dashboard on a study, also while its search runs.

    It listens on 127.0.0.1 alone and only shows: nothing can be changed there. Ctrl-C ends it.
    Needs: pip install 'transformer-nas[dashboard]'.
    """
    from importlib.util import find_spec

    if find_spec("optuna_dashboard") is None:
        raise InputError(
            "dashboard: optuna-dashboard is not installed; "
            "run: pip install 'transformer-nas[dashboard]'"
        )
    found, how = find_study(study)
    with _server(found, port) as server:
        terminal.say(f"{how}: {server.address} (Ctrl-C ends it)")
        if browser:
            _open(server.address)
        try:
            server.serve()
        except KeyboardInterrupt:
            terminal.say("ended")


def _server(study: Study, port: int | None) -> Dashboard:
    """Return a server on a port; without one, on the usual one or any that is free."""
    from nas.cli.serving import Dashboard

    mirror = study.optuna_study()
    if port is not None:
        return Dashboard(mirror, port)
    try:
        return Dashboard(mirror, PORT)
    except InputError:
        return Dashboard(mirror, 0)


def _open(address: str) -> None:
    """Open the browser, unless it would be one that draws in this terminal."""
    import webbrowser

    has_windows = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_windows or sys.platform in ("win32", "darwin"):
        webbrowser.open(address)
