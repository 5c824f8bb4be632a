"""Plots of several searches: the best so far of each, with bands over seeds, and the winners."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nas.report.figures.course import TIMES
from nas.report.figures.plot import HOVER, Plot, Trace, axis, layout, line
from nas.wording import duration, measure

if TYPE_CHECKING:
    from nas.report.comparison import Comparison, Figure, Group, Run

# Colours that tell searches apart, with a symbol each for who does not see colours; then dashes.
COLOURS = ("point", "best", "reference", "shared", "second")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
DASHES = ("solid", "dash", "dot")
BAND, THIN = "38", 0.5  # how opaque a range is, of ff, and the single searches in it
ROW = 34  # pixels of a row of the finals


def progress(found: Comparison) -> Plot:
    """Plot the best so far against time: a line a search, of several seeds median and range."""
    title = "Best so far against time"
    runs = [run for group in found.groups for run in group.runs if run.best_so_far]
    unit, per, _ = next(one for one in TIMES if max(r.best_so_far[-1][0] for r in runs) < one[2])
    traces = [trace for at, group in enumerate(found.groups) for trace in _lines(group, at, per)]
    said = "; ".join(
        f"{run.name} {measure(run.best)} after {duration(run.best_so_far[-1][0])}"
        for run in runs
        if run.best is not None
    )
    way = "lower" if found.direction == "minimize" else "higher"
    bands = any(len(group.runs) > 1 for group in found.groups)
    of_seeds = " Of several seeds: the median, and the range of all." if bands else ""
    return Plot(
        title=title,
        caption=f"Best {found.objective} of single trainings, as each search found it.{of_seeds}",
        alt=f"{title}, {found.objective}, {way} is better. In the end: {said}.",
        data=traces,
        layout=layout(
            xaxis=axis(f"{unit} of search", rangemode="tozero"),
            yaxis=axis(f"{found.objective} ({way} is better)"),
        ),
    )


def _lines(group: Group, at: int, per: float) -> list[Trace]:
    """Return what is drawn of a group, whose entry in the legend shows and hides all of it."""
    style = {"legendgroup": str(at), **_style(at)}
    runs = [run for run in group.runs if run.best_so_far]
    if len(group.runs) == 1:
        return [_line(run, group.label, per, style) for run in runs]
    single = {"opacity": THIN, "showlegend": False}
    traces = [_line(run, run.name, per, style | {"width": 1}) | single for run in runs]
    if not group.band:
        return traces
    x = [point[0] / per for point in group.band]
    words = [
        f"<b>{escape(group.label)}</b><br>median {measure(m)}, {measure(a)} to {measure(b)} "
        f"after {duration(t)}"
        for t, m, a, b in group.band
    ]
    median = [point[1] for point in group.band]
    return [*_band(group, x, style), *traces, _stepped(x, median, group.label, words, style)]


def _band(group: Group, x: Sequence[float], style: dict[str, Any]) -> list[Trace]:
    """Return the range of a group as two lines that are not seen and the ground between them."""
    edge = _without_colour(style) | {"showlegend": False, "width": 0}
    low, high = (
        line(x, [point[at] for point in group.band], "", style["colour"], **edge) for at in (2, 3)
    )
    return [low, high | {"fill": "tonexty", "fillcolor": f"@{style['colour']}~{BAND}"}]


def _line(run: Run, name: str, per: float, style: dict[str, Any]) -> Trace:
    times = [t / per for t, _ in run.best_so_far]
    values = [value for _, value in run.best_so_far]
    words = [
        f"<b>{escape(run.name)}</b><br>{measure(value)} after {duration(t)}"
        for t, value in run.best_so_far
    ]
    return _stepped(times, values, name, words, style)


def _stepped(
    x: Sequence[float], y: Sequence[float], name: str, words: Sequence[str], style: dict[str, Any]
) -> Trace:
    own = _without_colour({"width": 2.5, **style})
    found = line(x, y, escape(name), style["colour"], **own)
    del found["hoverinfo"]
    return {**found, "text": list(words), "hovertemplate": HOVER}


def _style(at: int) -> dict[str, Any]:
    dash = DASHES[at // len(COLOURS) % len(DASHES)]
    return {"colour": COLOURS[at % len(COLOURS)], "dash": dash, "shape": "hv"}


def _without_colour(style: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in style.items() if name != "colour"}


def finals(found: Comparison, metric: str) -> Plot:
    """Plot the winners' figures over fresh seeds, with their intervals, a row each."""
    title = f"{metric} of the winners"
    rows = [(at, *row) for at, group in enumerate(found.groups) for row in _rows(group, metric)]
    if not rows:
        return Plot(title=title, caption="No search had finals: no shape was trained again.")
    traces = [_row(at, name, figure) for at, name, figure in reversed(rows)]
    said = "; ".join(f"{name} {measure(figure.mean)}" for _, name, figure in rows)
    return Plot(
        title=title,
        caption="Means over fresh seeds with their 95 % intervals; crosses are single values. "
        f"In short: {found.verdict}.",
        alt=f"{title} over fresh seeds: {said}.",
        data=traces,
        layout=layout(
            height=(height := 90 + ROW * len(rows)),
            showlegend=False,
            xaxis=axis(metric),
            yaxis=axis(type="category"),
        ),
        height=height,
    )


def _rows(group: Group, metric: str) -> list[tuple[str, Figure]]:
    """Return the searches of a group that have the metric, and all of them together."""
    found = [(run.name, run.final[metric]) for run in group.runs if metric in run.final]
    if len(group.runs) > 1 and metric in group.final:
        found.append((group.label, group.final[metric]))
    return found


def _row(at: int, name: str, figure: Figure) -> Trace:
    low, high = figure.interval or (figure.mean, figure.mean)
    together = figure.over == "searches"
    colour = f"@{COLOURS[at % len(COLOURS)]}"
    reach = f", 95 % interval {measure(low)} to {measure(high)}" if figure.interval else ""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [figure.mean, *figure.values],
        "y": [escape(name)] * (1 + len(figure.values)),
        "marker": {
            "color": colour,
            "symbol": [SYMBOLS[at % len(SYMBOLS)], *["x-thin"] * len(figure.values)],
            "size": [13 if together else 9, *[7] * len(figure.values)],
            "line": {"color": colour, "width": [0, *[1.5] * len(figure.values)]},
        },
        "error_x": {
            "type": "data",
            "array": [high - figure.mean, *[0] * len(figure.values)],
            "color": colour,
            "thickness": 3 if together else 1.5,
        },
        "text": [
            f"<b>{escape(name)}</b><br>mean {measure(figure.mean)} over {len(figure.values)} "
            f"{figure.over}{reach}",
            *[f"<b>{escape(name)}</b><br>{measure(value)}" for value in figure.values],
        ],
        "hovertemplate": HOVER,
    }
