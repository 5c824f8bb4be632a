"""`nas search`: run a search or go on with one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nas.cli import terminal
from nas.errors import INTERRUPTED


def search(
    context: typer.Context,
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]",
            help="A study file, a study's folder, the name of one in ./studies, or a shipped "
            "name; if left out, the shipped one of the --task, or quickstart.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What the study is called; with --data, named after it.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What is learned; see: nas tasks.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A file, a folder, or builtin:NAME; which kinds depends on the task.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="The search space: a file or a name; see: nas spaces.", show_default=False
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="The shape to beat is that of this model: a model folder, ours or a stock one of "
            "transformers. It is trained from nothing, as every candidate is.",
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="auto, random, evolution, tpe, gp, nsga2, or your own package.module:Name.",
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Stop after this many candidates.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after this time, finals included.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Candidates trained at once.", show_default=False)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default=False)
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="processes, inline (one at a time, here), ray, or ray://HOST:PORT of a cluster.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides every draw.", show_default=False)
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="OTHER_STUDY",
            help="A new study begins with what another one measured.",
            show_default=False,
        ),
    ] = None,
    loggers: Annotated[
        list[str] | None,
        typer.Option(
            "--logger",
            metavar="NAME",
            help="Also show the search in tensorboard or mlflow, or by your own "
            "package.module:Name; may be repeated.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other line of the study file; may be repeated.",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where a new study is kept: postgresql://USER@HOST/DATABASE, without a password; "
            "by itself in its folder, or where NAS_DATABASE says.",
            show_default=False,
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Move an existing study aside and begin anew.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Import and run code that the study, its space or its database names as "
            "package.module:Name.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only estimate how long it takes; nothing is kept.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only the result.")] = False,
) -> None:
    """Search for the best architecture, or go on with a search.

    A study that is finished shows its result; a higher limit goes on from there. Ctrl-C keeps
    everything, and the same command goes on.
    """
    given = {
        "task.name": task,
        "task.data": data,
        "space": space,
        "reference": reference,
        "strategy": strategy,
        "stop.candidates": candidates,
        "stop.minutes": minutes,
        "workers": workers,
        "device": device,
        "executor": executor,
        "seed": seed,
        "warm_start": warm_start,
        "database": database,
        "logger": loggers or None,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    from nas.driver.settings import find_settings

    overrides |= _parsed(settings)
    found = find_settings(study, name=name, overrides=overrides, fresh=fresh, trust=trust)
    if not quiet:
        terminal.say(found.how)
    if dry_run:
        from nas.cli.dry_run import show_estimate

        show_estimate(found.config)
        return
    _run(found.config, fresh=fresh, quiet=quiet, arguments=context.obj)


def _parsed(settings: Sequence[str] | None) -> dict[str, Any]:
    from nas.config import parse_set

    return dict(parse_set(text) for text in settings or ())


def _run(config: Any, *, fresh: bool, quiet: bool, arguments: Sequence[str]) -> None:
    from nas.cli.progress import listener_for
    from nas.cli.result import show_result
    from nas.driver import SearchInterrupted
    from nas.driver import search as run_search

    try:
        with listener_for(quiet=quiet) as listener:
            study = run_search(config, fresh=fresh, listener=listener)
    except SearchInterrupted:
        again = shlex.join(["nas", *(text for text in arguments if text != "--fresh")])
        terminal.say(f"stopped; everything is kept. Go on with: {again}")
        raise typer.Exit(INTERRUPTED) from None
    show_result(study)
