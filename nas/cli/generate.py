"""`nas generate`: text from a study's best model, one of its candidates, or a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nas.cli import terminal
from nas.cli.inputs import STDIN, column_of, in_parts, lines_of
from nas.cli.models import CandidateOption, DeviceOption, ModelArgument, open_model
from nas.cli.tables import Format, RowStream
from nas.cli.trust import TrustOption
from nas.errors import ArtifactError, InputError

COLUMNS = ("prompt", "text")  # what a table's column of prompts may be called


class TextFormat(StrEnum):
    """How texts come out."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def generate(
    study: ModelArgument = None,
    prompt: Annotated[str, typer.Option(help="The text to go on from.")] = "",
    file: Annotated[
        str | None,
        typer.Option(
            help="Prompts instead: a text file with one a line, or a csv, tsv or jsonl file with "
            "a column prompt; - is standard input.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        TextFormat,
        typer.Option("--format", help="Texts, a blank line between them; or json or csv."),
    ] = TextFormat.TEXT,
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
        int | None,
        typer.Option(help="The same seed gives the same text of a prompt.", show_default=False),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Prompts that are gone on from at once.")] = 32,
    candidate: CandidateOption = None,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Write text with a trained model.

    Each prompt of a file is gone on from as it would be by itself.
    Which model it is goes to standard error.
    """
    if prompt and file is not None:
        raise InputError("generate: got --prompt and --file; give one of them")
    model, how = open_model(study, candidate, device, trust=trust)
    if model.task_spec.head == "causal_lm" and model.tokenizer is None:
        raise ArtifactError(f"{model.folder}: has no tokenizer.json; text needs one")
    prompts = iter([prompt]) if file is None else _prompts(file)

    def go_on(part: list[str]) -> list[str]:
        return model.generate(
            part,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )

    parts = in_parts(prompts, batch)
    _show((pair for part in parts for pair in zip(part, go_on(part), strict=True)), how, form)


def _prompts(file: str) -> Iterator[str]:
    from nas.data.tables import is_table

    if file != STDIN and is_table(Path(file)):
        return column_of(Path(file), COLUMNS, None)
    return lines_of(file)


def _show(written: Iterator[tuple[str, str]], how: str, form: TextFormat) -> None:
    """Write each text when it is done; nothing at all if the first one fails."""
    if form is not TextFormat.TEXT:
        terminal.aside(how)
        with RowStream(Format(form.value), ["prompt", "text"]) as stream:
            for prompt, text in written:
                stream.write([{"prompt": prompt, "text": text}])
        return
    for number, (_, text) in enumerate(written):
        if number:
            terminal.say()
        else:
            terminal.aside(how)
        terminal.exact(text)
