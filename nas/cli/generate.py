"""`nas generate`: text from a study's best model, one of its candidates, or a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import find_study, shown_path
from nas.errors import ArtifactError


def generate(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY|FOLDER]",
            help="A study or a model folder; the newest study in ./studies if left out.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[str, typer.Option(help="The text to go on from.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Largest number of new tokens.")] = 200,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Only this many of the likeliest.", show_default=False)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Only the likeliest up to this probability.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same text.", show_default=False)
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(help="This one instead of the best: its id or number.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Write text with a trained model.

    Which model it is goes to standard error.
    """
    from nas.artifact import holds_model
    from nas.cli.show import find_candidate
    from nas.device import check_device_name
    from nas.loading import load, model_folder

    check_device_name(device)
    if study is not None and candidate is None and holds_model(Path(study)):
        model, how = load(study, device=device), study
    else:
        found, how = find_study(study)
        row = found.best() if candidate is None else find_candidate(found, candidate)
        folder = model_folder(found, row)
        model, how = load(folder, device=device), f"{how}, #{row.number}: {shown_path(folder)}"
    if model.task_spec.head == "causal_lm" and model.tokenizer is None:
        raise ArtifactError(f"{model.folder}: has no tokenizer.json; text needs one")
    text = model.generate(
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    terminal.aside(how)
    terminal.say(text)
