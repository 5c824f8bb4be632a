"""The page of searches side by side; like the report it is one file that asks for nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.report import put
from nas.report.comparison import Comparison, Figure, Group, Run, final_metrics
from nas.report.drawing import draw, widest
from nas.report.facts import without_secrets
from nas.report.figures.searches import finals, progress
from nas.report.page import filled
from nas.wording import count, duration, measure, shape_words


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the page and return where it is.

    Args:
        found: The searches.
        path: Where to; its folder must be there.

    Raises:
        InputError: If it cannot be written there.
        DiskError: If the disk takes no more.
    """
    put(path, render(found))
    return path


def render(found: Comparison) -> str:
    """Return the page; an equal comparison gives an equal page."""
    metrics = _metrics(found)
    plots = {"progress": progress(found), "finals": finals(found, metrics[-1])}
    runs = [(group, run) for group in found.groups for run in group.runs]
    full = widest(run.winner.drawing for _, run in runs if run.winner)
    return filled(
        "compare.html.j2",
        facts=without_secrets(asdict(found)),
        plots=plots,
        shapes={},
        js="compare.js",
        metrics=metrics,
        rows=[_row(group, run, metrics) for group, run in runs],
        together=[_together(group, metrics) for group in found.groups if len(group.runs) > 1],
        winners=[(run.name, draw(run.winner.drawing, full)) for _, run in runs if run.winner],
        version=_version(),
    )


def _metrics(found: Comparison) -> list[str]:
    """Return the metrics of the finals that any search has, that on test last."""
    names = {name for group in found.groups for run in group.runs for name in run.final}
    known = final_metrics(found.objective)
    return [name for name in known if name in names] or [known[-1]]


def _row(group: Group, run: Run, metrics: list[str]) -> dict[str, Any]:
    done, spent, winner = run.states.get("complete", 0), run.spent, run.winner
    others = [f"{number} {state}" for state, number in run.states.items() if state != "complete"]
    return {
        "name": run.name,
        "group": group.label if len(group.runs) > 1 else "",
        "seed": run.seed,
        "best": "" if run.best is None else measure(run.best),
        "final": [_words(run.final.get(name)) for name in metrics],
        "params": "" if winner is None or winner.params is None else count(winner.params),
        "shape": "none is complete" if winner is None else shape_words(winner.shape),
        "is_reference": winner is not None and winner.is_reference,
        "time": duration(spent.seconds),
        "worker_time": duration(spent.worker_seconds),
        "tokens": count(spent.tokens),
        "flops": f"{spent.flops:.2g}",
        "candidates": ", ".join([f"{done} complete", *others]),
        "state": run.state,
    }


def _together(group: Group, metrics: list[str]) -> dict[str, Any]:
    return {"name": group.label, "final": [_words(group.final.get(name)) for name in metrics]}


def _words(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if figure.interval is None:
        return measure(figure.mean)
    return f"{measure(figure.mean)} ± {measure(figure.interval[1] - figure.mean)}"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("transformer-nas")
    except PackageNotFoundError:
        return ""
