"""`nas predict`: labels, texts or items for raw inputs, as many as there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.inputs import Input, check_sources, in_parts, inputs_for
from nas.cli.models import CandidateOption, DeviceOption, ModelArgument, open_model
from nas.cli.tables import Format, FormatOption, RowStream
from nas.cli.trust import TrustOption

AHEAD = 8  # batches that are read at once, among which inputs are put together by length


def predict(
    study: ModelArgument = None,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Texts, pictures or folders of them, or histories such as 'a, b, c'; - is "
            "standard input.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="A text file with an input a line, or a csv, tsv or jsonl file as for training; "
            "also .gz; - is standard input.",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="What a table's column of inputs is called.", show_default=False),
    ] = None,
    form: FormatOption = Format.TABLE,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many of the likeliest; of items 10 if left out.", show_default=False
        ),
    ] = None,
    seen: Annotated[
        bool, typer.Option("--seen", help="Items of the history may be among its answers.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Inputs that are worked on at once.")] = 32,
    candidate: CandidateOption = None,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
) -> None:
    """Ask a model for classes, texts or next items.

    Texts and pictures get a class or (sequence_to_sequence) a text, histories the items that come
    next. Inputs are arguments, a file, or lines of standard input; blank lines are left out.

    A file is read and answered part by part, so that it may be of any length; a log of user, item
    and time is read as a whole and gives the next items of each user. Which model it is goes to
    standard error.
    """
    check_sources(inputs or [], file)
    model, how = open_model(study, candidate, device, trust=trust)
    terminal.aside(how)
    found = inputs_for(model.task_spec, inputs or [], file, column)
    rows = _Answers(model, batch=batch, top=top, seen=seen)
    with RowStream(form, rows.columns) as stream:
        for part in in_parts(found, AHEAD * batch):
            stream.write(list(rows.of(part)))


class _Answers:
    """Asks a model part by part and makes rows of what it says."""

    def __init__(self, model: Any, *, batch: int, top: int | None, seen: bool) -> None:
        from nas.predicting import predictor_for

        predictor_for(model.asked)  # refuses before anything is read
        self._model, self._batch, self._top, self._seen = model, batch, top, seen
        self._count = 0
        self._is_ranked = top is not None or model.task_spec.head == "causal_lm"

    @property
    def columns(self) -> list[str]:
        """The columns of the rows, the most important first."""
        if self._model.task_spec.head == "seq2seq":
            return ["output", "input"]
        return (
            ["rank", "label", "score", "input"] if self._is_ranked else ["label", "score", "input"]
        )

    def of(self, part: list[Input]) -> Iterator[dict[str, Any]]:
        """Yield the rows of some inputs."""
        from nas.predicting import Wanted
        from nas.predicting import predict as ask

        wanted = Wanted(
            batch=self._batch,
            top_k=self._top,
            exclude_seen=not self._seen,
            first=self._count + 1,
        )
        found = ask(self._model.asked, [one.value for one in part], wanted)
        self._count += len(part)
        for one, answer in zip(part, found, strict=True):
            yield from self._rows(one.shown, answer)

    def _rows(self, shown: str, answer: Any) -> Iterator[dict[str, Any]]:
        if isinstance(answer, str):
            yield {"input": shown, "output": answer}
        elif self._is_ranked:
            for rank, one in enumerate(answer, start=1):
                yield {"input": shown, "rank": rank, "label": one.label, "score": one.score}
        else:
            yield {"input": shown, "label": answer.label, "score": answer.score}
