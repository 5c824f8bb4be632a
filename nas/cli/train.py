"""`nas train`: train a stored candidate again, so that its weights are kept."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import find_study, shown_path, study_name


def train(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's name, folder or database URL.")
    ],
    candidate: Annotated[
        str, typer.Option(help="Its id, the start of it, or its number.", show_default=False)
    ],
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only where the model is.")] = False,
) -> None:
    """Train a candidate again and keep its weights.

    Only a complete one is, by its own recipe and seed.

    On the CPU the result is the stored one to the last bit. A search that goes on afterwards
    keeps the weights of its best only; copy the folder, or nas.save the model, to have it for good.
    """
    from nas.cli.progress import listener_for
    from nas.cli.show import find_candidate
    from nas.driver.retrain import retrain

    found, how = find_study(study)
    row = find_candidate(found, candidate)
    if not quiet:
        terminal.say(how)
    with listener_for(quiet=quiet) as listener:
        row = retrain(found, row.candidate_id, listener)
    assert row.model_path is not None, "retrain keeps the weights"
    terminal.say(f"model: {shown_path(found.folder / row.model_path)}")
    terminal.say(f"use:   nas.load({study_name(found)!r}, candidate={row.candidate_id!r})")
