"""`nas train`: a candidate again or to more tokens, or a shape of one's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument, find_study, shown_path, study_name
from nas.cli.trust import TrustOption, check_study
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.driver.own import OwnResult
    from nas.study import Study


def train(
    study: StudyArgument = None,
    candidate: Annotated[
        str | None,
        typer.Option(help="Its id, the start of it, or its number.", show_default=False),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train the candidate on to so many, from before its cooldown.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="A field of a shape of your own instead; may be repeated.",
            show_default=False,
        ),
    ] = None,
    trust: TrustOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only the result.")] = False,
) -> None:
    """Train a candidate again or longer, or your own shape.

    Again: a complete one by its own recipe and seed, so that its weights are kept. On the CPU the
    result is the stored one to the last bit. A search that goes on afterwards keeps the weights
    of its best only; copy the folder, or nas.save the model, to have it for good.

    With --tokens it becomes a further candidate, which no search ranks. With --set your shape is
    trained from fresh seeds as finalists are and compared with the winner and the reference.
    """
    if (candidate is None) == (not settings):
        raise InputError("train: give --candidate, or a shape with --set; see: nas train --help")
    if tokens is not None and candidate is None:
        raise InputError("train: --tokens is for a --candidate; a shape has the study's budget")
    found, how = find_study(study)
    check_study(found, trust=trust)
    if candidate is not None:
        _train_stored(found, how, candidate, tokens, quiet=quiet)
    else:
        _train_own(found, how, settings or [], quiet=quiet)


def _train_stored(
    study: Study, how: str, candidate: str, tokens: int | None, *, quiet: bool
) -> None:
    from nas.cli.progress import listener_for
    from nas.cli.show import find_candidate
    from nas.driver.extend import extend
    from nas.driver.retrain import retrain

    row = find_candidate(study, candidate)
    if not quiet:
        terminal.say(how)
    with listener_for(quiet=quiet) as listener:
        if tokens is None:
            row = retrain(study, row.candidate_id, listener)
        else:
            row = extend(study, row.candidate_id, tokens, listener)
    _show_place(study, row.model_path, row.candidate_id)


def _show_place(study: Study, model_path: str | None, candidate_id: str) -> None:
    assert model_path is not None, "who trains keeps the weights"
    terminal.say(f"model: {shown_path(study.folder / model_path)}")
    terminal.say(f"use:   nas.load({study_name(study)!r}, candidate={candidate_id!r})")


def _train_own(study: Study, how: str, settings: list[str], *, quiet: bool) -> None:
    from nas.cli.enqueue import shape_fields
    from nas.cli.progress import listener_for
    from nas.driver.own import train_own

    shape = shape_fields(settings)
    if not quiet:
        terminal.say(how)
    with listener_for(quiet=quiet) as listener:
        result = train_own(study, shape, listener)
    _show_own(study, result)


def _show_own(study: Study, result: OwnResult) -> None:
    from nas.cli.result import group_cells
    from nas.cli.tables import show_table
    from nas.wording import comparison_words

    groups = {"own": result.group, **result.rivals}
    metrics = [study.objectives[0], study.objectives[0].replace("val_", "test_")]
    cells = [group_cells(name, group, metrics) for name, group in groups.items()]
    terminal.say()
    show_table(cells, ["as", *dict.fromkeys(metrics), "params", "shape", "seeds"])
    for name, comparisons in result.comparisons.items():
        terminal.say(f"\nyour shape against the {name}")
        for metric, found in comparisons.items():
            terminal.prose(f"{metric}: {comparison_words(asdict(found))}", indent="  ")
    if not result.rivals:
        terminal.say("\nno other shape has been through finals to compare with")
    for row in result.group.rows:
        if row.model_path is not None:
            terminal.say()
            _show_place(study, row.model_path, row.candidate_id)
            return
