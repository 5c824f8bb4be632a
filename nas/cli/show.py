"""`nas show`: all that is stored of one candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument, find_study, shown_path, study_name
from nas.cli.tables import Format, FormatOption, show_json, show_pairs, show_rows, show_table
from nas.cli.wording import count, duration, shape_words, size
from nas.errors import NotFoundError

if TYPE_CHECKING:
    from nas.store.rows import CandidateRow, EvaluationRow
    from nas.study import Study

LONGEST_NUMBER = 6  # digits; more are the start of a candidate id


def show(
    study: StudyArgument = None,
    candidate: Annotated[
        str | None,
        typer.Argument(
            metavar="CANDIDATE",
            help="A candidate's number, its id or the start of it; the best one if left out.",
            show_default=False,
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show all that is known of one candidate."""
    found, how, row = _find(study, candidate)
    evaluations = found.evaluations(row.candidate_id)
    if form is Format.JSON:
        show_json(_plain(found, row, evaluations))
    elif form is Format.CSV:
        show_rows([row.flat()], form, [])
    else:
        terminal.say(how)
        _show(found, row, evaluations)


def _find(study: str | None, candidate: str | None) -> tuple[Study, str, CandidateRow]:
    """Take a single argument for a study, then for a candidate of the newest one."""
    try:
        found, how = find_study(study)
    except NotFoundError as no_study:
        if study is None or candidate is not None:
            raise
        try:
            found, how = find_study(None)
            return found, how, find_candidate(found, study)
        except NotFoundError:
            raise no_study from None
    return found, how, found.best() if candidate is None else find_candidate(found, candidate)


def find_candidate(study: Study, text: str) -> CandidateRow:
    """Return a candidate by its number in the search, its id or the start of it.

    Raises:
        NotFoundError: If there is none.
        InputError: If several ids begin so.
    """
    digits = text.removeprefix("#")
    if digits.isdecimal() and len(digits) <= LONGEST_NUMBER:
        rows = study.trials(f"number == {int(digits)}")
        rows.sort(key=lambda row: row.role != "search")
        if rows:
            return rows[0]
    return study.candidate(digits)


def _show(study: Study, row: CandidateRow, evaluations: Sequence[EvaluationRow]) -> None:
    seed = "" if row.role == "search" else f", {row.role}, seed {row.seed}"
    terminal.heading(f"#{row.number} {row.candidate_id}: {shape_words(row.shape)}{seed}")
    terminal.say(terminal.bad(row.state) if row.error else row.state)
    _show_shape(row)
    _show_measured(evaluations)
    _show_front(study, row)
    _show_provenance(study, row)
    _show_error(row)


def _show_shape(row: CandidateRow) -> None:
    from nas.families import shape_of
    from nas.families.constants import searched_names
    from nas.plugins import is_allowed

    if not is_allowed(row.family):  # no code of the user's own is run to show a row
        terminal.say()
        terminal.heading(f"shape ({terminal.visible(row.family)})")
        show_pairs({**row.shape, **{name: f"{value:,.0f}" for name, value in row.columns.items()}})
        return
    shape = shape_of(row.architecture)
    even = shape.uniform()
    fields = {
        name: getattr(even if getattr(shape, name) is None else shape, name)
        for name in searched_names(type(shape))
    }
    per_layer = {name: fields.pop(name) for name in sorted(shape.per_layer)}
    terminal.say()
    terminal.heading(f"shape ({row.family})")
    show_pairs({name: _field(value) for name, value in fields.items()})
    if per_layer:
        layers = _layers(per_layer, int(fields["n_layer"]))
        show_table(layers, ["layers", *per_layer])
    show_pairs({name: f"{value:,.0f}" for name, value in row.columns.items()})


def _field(value: Any) -> Any:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _layers(per_layer: Mapping[str, Any], depth: int) -> list[dict[str, Any]]:
    """Return a row for each run of equal layers."""
    each = [
        {name: value[i] if isinstance(value, tuple) else value for name, value in per_layer.items()}
        for i in range(depth)
    ]
    starts = [i for i in range(depth) if i == 0 or each[i] != each[i - 1]]
    ends = [*starts[1:], depth]
    return [
        {"layers": f"{a + 1}" if b == a + 1 else f"{a + 1} to {b}", **each[a]}
        for a, b in zip(starts, ends, strict=True)
    ]


def _show_measured(evaluations: Sequence[EvaluationRow]) -> None:
    if not evaluations:
        return
    terminal.say()
    terminal.heading("measurements")
    metrics = {name for one in evaluations for name in one.metrics}
    rows = [
        {
            "rung": one.evaluation.rung,
            "tokens": one.evaluation.tokens,
            "seconds": one.evaluation.seconds,
            **one.metrics,
        }
        for one in evaluations
    ]
    show_table(rows, ["rung", "tokens", "seconds", *sorted(metrics, key=_telling)])
    _show_curve(evaluations)


def _show_front(study: Study, row: CandidateRow) -> None:
    """Say of several objectives whether any candidate beats this one in all, and the volume."""
    from nas.store.hypervolume import front_summary
    from nas.wording import front_words

    rows = study.trials() if len(study.objectives) > 1 else []
    front = front_summary(rows, study.objectives) if rows else None
    if front is not None:
        place = "on it" if row.candidate_id in front["candidates"] else "not on it"
        of = f"{len(front['candidates'])} of {', '.join(study.objectives)}"
        terminal.prose(f"Pareto front: {place} ({of}); {front_words(front)}")


def _telling(metric: str) -> tuple[bool, bool, str]:
    """Order metrics: losses first, of two alike that on val."""
    return "loss" not in metric, not metric.startswith("val_"), metric


def _show_curve(evaluations: Sequence[EvaluationRow]) -> None:
    from nas.cli.curve import curve_lines

    measured = [
        (one.evaluation.tokens, one.metrics["val_loss"])
        for one in evaluations
        if "val_loss" in one.metrics
    ]
    lines = curve_lines(evaluations[-1].evaluation.curve, measured, terminal.width())
    terminal.say("\n".join(lines))


def _show_provenance(study: Study, row: CandidateRow) -> None:
    from nas.records import to_plain

    numerics = study.record.numerics
    terminal.say()
    terminal.heading("provenance")
    show_pairs(
        {
            "study": shown_path(study.folder),
            "seed": row.seed,
            "data": row.data_fingerprint,
            "recipe": _words({name: getattr(row.recipe, name) for name in _recipe_fields()}),
            "numerics": _words(to_plain(numerics)) if numerics else None,
            "versions": _words(study.record.versions),
            "created": f"{row.created_at:%Y-%m-%d %H:%M:%S}",
            "finished": f"{row.finished_at:%Y-%m-%d %H:%M:%S}" if row.finished_at else None,
            "time": _words({name: duration(spent) for name, spent in row.timings.items()}),
            "weights": _weights(study, row),
        }
    )


def _recipe_fields() -> list[str]:
    from nas.records import Recipe

    return list(Recipe.__dataclass_fields__)


def _words(plain: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in plain.items()
    )


def _weights(study: Study, row: CandidateRow) -> str:
    """Return where a candidate's weights are, or how to get them."""
    name = study_name(study)
    if row.model_path is not None:
        return shown_path(study.folder / row.model_path)
    if row.state == "complete":
        return f"not kept; train it again: nas train {name} --candidate {row.candidate_id}"
    if row.checkpoint is None:
        return "none"
    at = f"{count(row.checkpoint.tokens)} tokens, {size(row.checkpoint.bytes)}"
    return f"a checkpoint at {at}; go on with: nas search {name}"


def _show_error(row: CandidateRow) -> None:
    if row.error:
        terminal.say()
        terminal.say(terminal.bad(terminal.visible(f"{row.state}: {row.error}")))
    if row.traceback:
        terminal.say(terminal.visible(row.traceback.rstrip()))


def _plain(study: Study, row: CandidateRow, evaluations: Sequence[EvaluationRow]) -> dict[str, Any]:
    from nas.records import to_plain

    return {
        **row.flat(),
        "shape": dict(row.shape),
        "recipe": to_plain(row.recipe),
        "data_fingerprint": row.data_fingerprint,
        "evaluations": [to_plain(one.evaluation) for one in evaluations],
        "timings": dict(row.timings),
        "numerics": to_plain(study.record.numerics),
        "versions": dict(study.record.versions),
        "traceback": row.traceback,
    }
