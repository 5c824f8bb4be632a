"""`nas finetune`: a trained model goes on with new data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import options, terminal
from nas.cli.models import CandidateOption, DeviceOption, open_model
from nas.cli.tables import show_table
from nas.cli.trust import TrustOption
from nas.cli.wording import count
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.finetuning import Report
    from nas.model import Model
    from nas.records import Progress

SECTIONS = ("task", "recipe", "split")  # of a study file, that --set may change


def finetune(
    model: options.TunedModelArgument,
    data: options.NewDataOption,
    out: options.OutOption,
    epochs: options.EpochsOption = None,
    examples: options.ExamplesOption = None,
    tokens: options.TokensOption = None,
    rate: options.RateOption = None,
    freeze_trunk: options.FreezeOption = False,
    head: options.HeadOption = "auto",
    settings: options.TuningSettingsOption = None,
    seed: Annotated[int, typer.Option(help="Decides order and a new head.")] = 0,
    candidate: CandidateOption = None,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Train a model on with new data.

    The result is a model folder like any other. The data are read with the model's own tokenizer,
    items or image size. Classes that it does not have give it a new head. The validation split is
    measured before and after. Ctrl-C leaves nothing behind.
    """
    from pathlib import Path

    from nas.finetuning import finetune as tune
    from nas.model import check_free

    sections = _sections(settings or [])
    check_free(Path(out))
    base, how = open_model(model, candidate, "cpu", trust=trust)
    if not quiet:
        terminal.say(how)
    with _reporting(quiet=quiet) as report:
        tuned = tune(
            base,
            data,
            out=out,
            epochs=epochs,
            examples=examples,
            tokens=tokens,
            rate=rate,
            freeze_trunk=freeze_trunk,
            head=head,
            seed=seed,
            device=device,
            report=report,
            **sections,
        )
    _show(tuned, out)


def _sections(settings: list[str]) -> dict[str, dict[str, Any]]:
    from nas.config import parse_set

    found: dict[str, dict[str, Any]] = {}
    for key, value in map(parse_set, settings):
        section, dot, name = key.partition(".")
        if section not in SECTIONS or not dot:
            raise InputError(
                f"--set: got '{key}', expected a key of {', '.join(SECTIONS)} such as recipe.batch"
            )
        found.setdefault(section, {})[name] = value
    return found


@contextmanager
def _reporting(*, quiet: bool) -> Iterator[Report | None]:
    """Give what shows progress in one line, where a terminal can; the line is gone afterwards."""
    if quiet or not terminal.live():
        yield None
        return

    def show(progress: Progress, budget: int) -> None:
        loss = "" if progress.train_loss is None else f", training loss {progress.train_loss:.4f}"
        done = f"{count(progress.tokens)} of {count(budget)} tokens{loss}"
        terminal.write(f"\r\x1b[2K{done}")

    try:
        yield show
    finally:
        terminal.write("\r\x1b[2K")


def _show(tuned: Model, out: str) -> None:
    from nas.finetuning import BEFORE

    named = {BEFORE: "val before", "val": "val after", "test": "test after"}
    rows: list[Mapping[str, Any]] = [
        {"split": shown, **tuned.metrics[split]}
        for split, shown in named.items()
        if split in tuned.metrics
    ]
    show_table(rows, list(dict.fromkeys(name for row in rows for name in row)))
    terminal.say(f"model: {out}")
    terminal.say(f"use:   nas.load({out!r})")
