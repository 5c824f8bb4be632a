"""`nas trials` and `nas best`: the candidates of a study, all or the best one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.choosing import StudyArgument, find_study, shown_path
from nas.cli.tables import Format, FormatOption, show_pairs, show_rows, split_columns
from nas.cli.wording import several, shape_words
from nas.errors import InputError, nearest

if TYPE_CHECKING:
    from nas.store.rows import CandidateRow
    from nas.study import Study

TIMES = ("latency_ms", "latency_iqr_ms")  # in a table where they were measured
# Columns of tables that `flat` rows do not have.
DERIVED = ("shape", "weights")

WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION",
        help="Only those for which this holds, such as 'val_loss < 2 and params < 1e6'.",
        show_default=False,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="These columns and no others.", show_default=False),
]


def trials(
    study: StudyArgument = None,
    where: WhereOption = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Sort by a column; -COLUMN for descending.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="At most this many rows.", show_default=False)
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(help="Only search, finalist, reference, own or extended.", show_default=False),
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Only complete, failed, diverged...", show_default=False)
    ] = None,
    all_rungs: Annotated[
        bool, typer.Option("--all", help="A row for every measurement of a candidate.")
    ] = False,
    pareto: Annotated[
        bool,
        typer.Option(
            "--pareto", help="Only those that no other one beats in every objective (or params)."
        ),
    ] = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the candidates of a study, best first."""
    found, how = find_study(study)
    _check_state(state)
    rows = found.trials(where, sort=sort, all_rungs=all_rungs, role=role)
    front = {row.candidate_id for row in found.pareto()} if pareto else None
    rows = [row for row in rows if front is None or row.candidate_id in front]
    rows = [row for row in rows if state in (None, row.state)][:limit]
    chosen = split_columns(columns, known_columns(found, rows)) if columns else None
    if form is Format.TABLE:
        terminal.heading(f"{how}: {several(len(rows), 'row')}")
        if not rows:
            return
    columns_shown = _default_columns(found, rows, all_rungs=all_rungs)
    show_rows(_cells(rows, form, chosen), form, columns_shown, chosen=chosen)


def best(
    study: StudyArgument = None,
    max_params: Annotated[
        float | None, typer.Option(help="The largest number of parameters.", show_default=False)
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(help="The longest latency, where it was measured.", show_default=False),
    ] = None,
    where: WhereOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show the best candidate of a study, or the best within limits."""
    found, how = find_study(study)
    row = found.best(max_params=max_params, max_latency_ms=max_latency_ms, where=where)
    if form is not Format.TABLE:
        show_rows([row.flat()], form, [])
        return
    terminal.heading(how)
    show_rows(_cells([row], form, None), form, _default_columns(found, [row]))
    folder = shown_path(found.folder / row.model_path) if row.model_path else None
    terminal.say()
    show_pairs({"candidate": row.candidate_id, "model": folder or "its weights were not kept"})


def known_columns(study: Study, rows: Sequence[CandidateRow]) -> set[str]:
    """Return the columns that a table of these rows can show."""
    from nas.store.rows import PLAIN_COLUMNS
    from nas.study import METRICS

    found = {name for row in rows for name in row.flat()}
    return {*METRICS, *PLAIN_COLUMNS, *DERIVED, *study.objectives, *found}


def _check_state(state: str | None) -> None:
    from nas.records import STATES

    if state is not None and state not in STATES:
        raise InputError(
            f"--state: got '{state}', expected {', '.join(STATES)}{nearest(state, STATES)}"
        )


def _cells(
    rows: Sequence[CandidateRow], form: Format, chosen: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Return the rows' columns; those that only people need are left out of files."""
    derived = form is Format.TABLE or bool(chosen and set(chosen) & set(DERIVED))
    cells = [{**row.flat(), **(_derived(row) if derived else {})} for row in rows]
    if form is Format.TABLE:  # a shape that no search tried has no number for people
        cells = [{**one, "number": None} if one["number"] < 0 else one for one in cells]
    return cells


def _derived(row: CandidateRow) -> dict[str, Any]:
    return {"shape": shape_words(row.shape), "weights": "kept" if row.model_path else None}


def _default_columns(
    study: Study, rows: Sequence[CandidateRow], *, all_rungs: bool = False
) -> list[str]:
    """Return a table's columns, the most telling first; those that say nothing are left out."""
    roles, states = {row.role for row in rows}, {row.state for row in rows}
    tests = [name.replace("val_", "test_", 1) for name in study.objectives]
    measured = {name for row in rows for name in row.metrics}
    return [
        "number",
        *(["tokens"] if all_rungs else []),
        *study.objectives,
        *(["state"] if states != {"complete"} else []),
        *(["role"] if roles != {"search"} else []),
        *(name for name in tests if name.startswith("test_") and name in measured),
        "params",
        "shape",
        *(name for name in TIMES if name in measured),
        *(["rate"] if len({row.recipe.rate for row in rows}) > 1 else []),
        "candidate_id",
        "seconds",
        "weights",
        "tokens",
        "seed",
        "flops_per_token",
        "finished_at",
        "error",
    ]
