"""The plots of a report: from facts to plotly's own JSON, in one table. No drawing is done here.

A figure is a plain dict of `data` and `layout` that plotly.js draws in the page and kaleido on the
command line. Colours are named (see `palette`), each point carries its candidate's place as
`customdata`, and nothing needs WebGL. Adding a plot is a function and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas.report.figures.course import curves, fidelity, progress
from nas.report.figures.effort import cost
from nas.report.figures.plot import Plot
from nas.report.figures.space import compute, importance, parallel, pareto, size

# By name: `plot-NAME` on the page, `NAME.png` as a picture; in the order of the page.
FIGURES: Mapping[str, Callable[[Mapping[str, Any]], Plot]] = {
    "progress": progress,
    "curves": curves,
    "pareto": pareto,
    "importance": importance,
    "parallel": parallel,
    "size": size,
    "compute": compute,
    "fidelity": fidelity,
    "cost": cost,
}


def plots_of(facts: Mapping[str, Any]) -> dict[str, Plot]:
    """Return all plots of a study's facts, by name."""
    return {name: make(facts) for name, make in FIGURES.items()}
