"""`nas search`: run a search or go on with one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import typer

from nas.cli import options, terminal
from nas.errors import INTERRUPTED


def search(
    context: typer.Context,
    study: options.StudyFileArgument = None,
    name: options.NameOption = None,
    task: options.TaskOption = None,
    data: options.DataOption = None,
    space: options.SpaceOption = None,
    reference: options.ReferenceOption = None,
    strategy: options.StrategyOption = None,
    candidates: options.CandidatesOption = None,
    minutes: options.MinutesOption = None,
    workers: options.WorkersOption = None,
    device: options.SearchDeviceOption = None,
    executor: options.ExecutorOption = None,
    seed: options.SeedOption = None,
    warm_start: options.WarmStartOption = None,
    loggers: options.LoggersOption = None,
    settings: options.StudySettingsOption = None,
    database: options.DatabaseOption = None,
    fresh: options.FreshOption = False,
    trust: options.StudyTrustOption = False,
    dry_run: options.DryRunOption = False,
    quiet: options.QuietOption = False,
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
