"""`nas compare`: searches side by side, in the terminal and on a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.choosing import find_study, shown_path
from nas.cli.tables import Format, FormatOption, show_json, show_rows, show_table
from nas.wording import duration, measure, shape_words

if TYPE_CHECKING:
    from nas.report.comparison import Comparison, Figure, Group, Run

PAGE = "compare.html"  # in the studies folder
SHARES = (0.25, 0.5, 1.0)  # of the shortest search's time


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY",
            help="Two searches or more: names in ./studies, folders or database URLs.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "--html",
            metavar="FILE",
            help="Where the page goes; compare.html in ./studies if left out.",
            show_default=False,
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put searches side by side, here and on a page.

    Shown are the best so far against time, the finals, the budget and the winners' shapes, and what
    of it does not compare. Searches that differ only in their seed are taken together.
    """
    from nas.report.comparison import compare_studies

    found = compare_studies([find_study(name)[0] for name in studies])
    if form is Format.JSON:
        show_json(asdict(found))
    elif form is Format.CSV:
        show_rows([_flat(group, run) for group in found.groups for run in group.runs], form, [])
    else:
        _show(found)
    if out is not None or form is Format.TABLE:
        _write_page(found, out, aside=form is not Format.TABLE)


def _show(found: Comparison) -> None:
    better = "smaller" if found.direction == "minimize" else "larger"
    terminal.heading(f"compared on {found.objective} ({better} is better)")
    show_table(
        [_row(found, run) for group in found.groups for run in group.runs],
        ["study", "best", *_final_names(found), "params", "time", "tokens", "done", "shape"],
    )
    _say_whole(found.verdict)
    _show_groups(found)
    _show_times(found)
    if found.warnings:
        terminal.say()
        terminal.heading("not quite comparable" if len(found.warnings) > 1 else "note")
        for warning in found.warnings:
            _say_whole(warning, "- ")


def _say_whole(text: str, mark: str = "") -> None:
    """Write a sentence over as many lines as it needs."""
    lines = wrap(
        terminal.visible(text),
        terminal.width(),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
    terminal.say("\n".join(lines))


def _row(found: Comparison, run: Run) -> dict[str, Any]:
    done, all_of_them = run.states.get("complete", 0), sum(run.states.values())
    winner = run.winner
    return {
        "study": run.name,
        "best": None if run.best is None else measure(run.best),
        **{name: _words(run.final.get(name)) for name in _final_names(found)},
        "params": winner and winner.params,
        "time": duration(run.spent.seconds),
        "tokens": run.spent.tokens,
        "done": f"{done} of {all_of_them}",
        "shape": winner and shape_words(winner.shape) + " (reference)" * winner.is_reference,
    }


def _final_names(found: Comparison) -> list[str]:
    """Return the metrics of the finals that any search has, test first."""
    names = {name for group in found.groups for run in group.runs for name in run.final}
    return sorted(names)


def _words(figure: Figure | None) -> str | None:
    """Return a mean and how far it reaches: 1.6321 ± 0.0042."""
    if figure is None:
        return None
    if figure.interval is None:
        return measure(figure.mean)
    reach = figure.interval[1] - figure.mean
    return f"{measure(figure.mean)} {terminal.symbol('±', '+-')} {measure(reach)}"


def _show_groups(found: Comparison) -> None:
    """Write what searches that differ only in their seed come to together."""
    several, names = [one for one in found.groups if len(one.runs) > 1], _final_names(found)
    if names:
        terminal.say("figures of the finals: mean over fresh seeds and its 95 % interval")
    if several and names:
        terminal.say("\nwinners of all seeds together (95 % interval over searches)")
        rows = [
            {"searches": group.label, **{n: _words(group.final.get(n)) for n in names}}
            for group in several
        ]
        show_table(rows, ["searches", *names])


def _show_times(found: Comparison) -> None:
    """Write the best value so far after the same times, up to the end of the shortest search."""
    from nas.report.comparison import best_at

    lines = [run.best_so_far for group in found.groups for run in group.runs if run.best_so_far]
    shortest = min(line[-1][0] for line in lines)
    moments = [share * shortest for share in SHARES]
    titles = [f"after {duration(moment)}" for moment in moments]
    terminal.say(f"\nbest {found.objective} so far; of several seeds the median")
    rows: list[dict[str, Any]] = []
    for group in found.groups:
        cells: dict[str, Any] = {"searches": group.label}
        for title, moment in zip(titles, moments, strict=True):
            values = [best_at(run.best_so_far, moment) for run in group.runs]
            cells[title] = _median(values)
        rows.append(cells)
    show_table(rows, ["searches", *titles])


def _median(values: list[float | None]) -> str | None:
    from statistics import median

    known = [value for value in values if value is not None]
    return measure(median(known)) if len(known) == len(values) else None


def _flat(group: Group, run: Run) -> dict[str, Any]:
    """Return a search as one row, for programs."""
    winner = run.winner
    figures: dict[str, Any] = {}
    for name, figure in run.final.items():
        low, high = figure.interval or (None, None)
        figures |= {name: figure.mean, f"{name}_low": low, f"{name}_high": high}
    return {
        "study": run.name,
        "group": group.label,
        "seed": run.seed,
        "state": run.state,
        "candidates": sum(run.states.values()),
        "complete": run.states.get("complete", 0),
        "best": run.best,
        **figures,
        "seconds": run.spent.seconds,
        "worker_seconds": run.spent.worker_seconds,
        "tokens": run.spent.tokens,
        "flops": run.spent.flops,
        "winner": winner and winner.architecture_id,
        "params": winner and winner.params,
        "shape": winner and dict(winner.shape),
    }


def _write_page(found: Comparison, out: Path | None, *, aside: bool) -> None:
    from nas.places import studies_folder
    from nas.report.compare_page import write_comparison

    if out is None:
        studies_folder().mkdir(parents=True, exist_ok=True)
    path = write_comparison(found, out or studies_folder() / PAGE)
    text = f"page: {shown_path(path.absolute())}"
    if aside:
        terminal.aside(text)
    else:
        terminal.say()
        terminal.say(text)
