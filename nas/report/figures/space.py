"""Plots of the space: the front, what matters, parallel coordinates, loss against size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from nas.report.figures.plot import (
    Facts,
    Plot,
    Trace,
    axis,
    better,
    called,
    highlights,
    layout,
    line,
    log_ticks,
    marked,
    points,
    ranked_by,
)
from nas.wording import count, measure, several

# Candidates in parallel coordinates are drawn by fifths of the objective, the best on top.
FIFTHS = ("best fifth", "second", "third", "fourth", "last fifth")
COLOURS = ("first", "second", "third", "fourth", "fifth")
COUNTED = ("params", "flops_per_token", "train_memory_bytes", "throughput")
LAW_STEPS = 40  # points of a drawn law
WIDE = 20.0  # an axis whose largest is so many times its smallest is logarithmic


def pareto(facts: Facts) -> Plot:
    """Plot the first objective against each other one, with the front of all."""
    title, found = "Pareto front", facts["pareto"]
    names = found["objectives"]
    rows = [
        at
        for at, one in enumerate(facts["candidates"])
        if one["role"] == "search" and one["state"] == "complete" and _has(one, names)
    ]
    if not rows:
        return Plot(title=title, caption="No complete candidate has all that the front is made of.")
    others = names[1:]
    data: list[Trace] = []
    axes: dict[str, Any] = {}
    for panel, other in enumerate(others):
        suffix = "" if panel == 0 else str(panel + 1)
        data += _panel(facts, rows, names[0], other, suffix)
        left, right = panel / len(others), (panel + 1) / len(others)
        values = [_number(facts["candidates"][at], other) for at in rows]
        gap = 0.06 if panel else 0.0
        axes[f"xaxis{suffix}"] = axis(
            _way(found, other), domain=[left + gap, right], anchor=f"y{suffix}", **_scale(values)
        )
        title_of_y = _way(found, names[0]) if panel == 0 else ""
        axes[f"yaxis{suffix}"] = axis(title_of_y, anchor=f"x{suffix}")
    kind = " and ".join(names) if len(names) == 2 else f"{', '.join(others)} and {names[0]}"
    said = (
        f"No other one beats {len(found['front'])} of "
        f"{several(len(rows), 'complete candidate')} in {kind} together."
    )
    if found["volume"]:
        said += f" Their {found['volume']}."
    said += " A click shows a shape."
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=data,
        layout=layout(showlegend=True, **axes),
    )


def _panel(facts: Facts, rows: Sequence[int], first: str, other: str, suffix: str) -> list[Trace]:
    front = set(facts["pareto"]["front"])

    def trace(places: Sequence[int]) -> Trace:
        own = [facts["candidates"][at] for at in places]
        words = [
            f"{escape(first)} {_words(first, _number(one, first))}"
            f"<br>{escape(other)} {_words(other, _number(one, other))}"
            for one in own
        ]
        x = [_number(one, other) for one in own]
        y = [_number(one, first) for one in own]
        found = points(facts, places, x, y, words)
        return {**found, "xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": not suffix}

    behind, on_it = [at for at in rows if at not in front], [at for at in rows if at in front]
    best = trace(sorted(on_it, key=lambda at: _number(facts["candidates"][at], other)))
    found = [marked(trace(behind), "beaten", "faint", size=6)] if behind else []
    found.append(marked(best, "on the front", "best", size=9))
    if len(facts["pareto"]["objectives"]) == 2:
        found[-1] |= {"mode": "lines+markers", "line": {"color": "@best", "width": 1.2}}
    whole = trace(rows)
    found += [one for one in highlights(facts, whole) if one["name"] == "reference"]
    return found


def _has(candidate: Mapping[str, Any], names: Sequence[str]) -> bool:
    return all(name in candidate or name in candidate["metrics"] for name in names)


def _number(candidate: Mapping[str, Any], name: str) -> float:
    metrics = candidate["metrics"]
    return float(metrics[name] if name in metrics else candidate[name])


def _words(name: str, value: float) -> str:
    return count(value) if name in COUNTED else measure(value)


def _way(found: Mapping[str, Any], name: str) -> str:
    way = found["directions"][found["objectives"].index(name)]
    return f"{name} ({'higher' if way == 'maximize' else 'lower'} is better)"


def _scale(values: Sequence[float]) -> dict[str, Any]:
    if min(values) > 0 and max(values) > WIDE * min(values):
        return log_ticks(values)
    return {"exponentformat": "SI"}


def importance(facts: Facts) -> Plot:
    """Plot how much each dimension matters for being among the best."""
    title, found = "Importance of the dimensions", facts["importance"]
    if not found["shares"]:
        return Plot(title=title, caption=found["reason"])
    shares = found["shares"][::-1]
    names = [escape(name) for name, _ in shares]
    first, share = found["shares"][0]
    said = (
        f"What the best {found['top']} of {len(found['candidates'])} complete candidates have in "
        f"common and the others have not, by PED-ANOVA: {first} has {100 * share:.0f} % of it. "
        f"{_caution(len(found['candidates']))}"
    )
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [100 * value for _, value in shares],
        "y": names,
        "marker": {"color": "@point"},
        "text": [f"{100 * value:.0f} %" for _, value in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{x:.1f} %<extra></extra>",
    }
    height = max(200, 90 + 34 * len(shares))
    most = 100 * max(value for _, value in shares)
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. "
        + ", ".join(f"{name} {100 * value:.0f} %" for name, value in found["shares"]),
        data=[trace],
        layout=layout(
            height=height,
            xaxis=axis("share of importance, %", range=[0, 1.15 * most or 1]),
            yaxis=axis(),
        ),
        height=height,
    )


def _caution(number: int) -> str:
    if number < 50:
        return "So few candidates give a rough picture only."
    return "A search that learns tries good regions more often, which this does not undo."


def parallel(facts: Facts) -> Plot:
    """Plot every complete candidate as a line over its dimensions, coloured by fifths."""
    title, found = "Parallel coordinates", facts["importance"]
    places, axes = found["candidates"], found["axes"]
    if len(places) < 2 or not axes:
        return Plot(
            title=title,
            caption="Fewer than two complete candidates that differ in a dimension: no lines.",
        )
    candidates = [facts["candidates"][at] for at in places]
    columns = [_Column.of(one["name"], one["values"], one["labels"]) for one in axes]
    columns.append(_Column.of("params", [float(one.get("params", 0)) for one in candidates], []))
    columns.append(
        _Column.of(
            ranked_by(facts),
            [one["value"] for one in candidates],
            [],
            upside_down=better(facts).startswith("lower"),
        )
    )
    data = [
        _lines(facts, places, columns, fifth, of)
        for fifth, of in reversed(list(enumerate(_fifths(len(places)))))
        if of
    ]
    names = ", ".join(one.name for one in columns)
    said = (
        f"{len(places)} complete candidates, a line each, over {names}; best at the top of the "
        "last axis, each axis from its smallest to its largest value here."
    )
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=data,
        layout=_parallel_layout(columns),
        height=430,
    )


class _Column:
    """One axis of parallel coordinates."""

    def __init__(self, name: str, places: Sequence[float], words: Sequence[str]) -> None:
        self.name, self.places, self.words = name, places, words
        self.ends: tuple[str, str] = ("", "")  # at the bottom and at the top

    @classmethod
    def of(
        cls,
        name: str,
        values: Sequence[float],
        labels: Sequence[str],
        *,
        upside_down: bool = False,
    ) -> _Column:
        """Return the axis of some values, from 0 (smallest) to 1."""
        words = [_axis_words(value, labels) for value in values]
        low, high = min(values), max(values)
        scale = math.log if low > 0 and high > WIDE * low and not labels else float
        span = scale(high) - scale(low)
        places = [(scale(value) - scale(low)) / span if span else 0.5 for value in values]
        if upside_down:
            places = [1 - place for place in places]
        made = cls(name, [round(place, 4) for place in places], words)
        ends = (_axis_words(low, labels), _axis_words(high, labels))
        made.ends = (ends[1], ends[0]) if upside_down else ends
        return made


def _axis_words(value: float, labels: Sequence[str]) -> str:
    if labels:
        return labels[int(value)]
    if abs(value) >= 10_000:
        return count(value)
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def _fifths(number: int) -> list[range]:
    """Return the places of each fifth; candidates come best first."""
    ends = [round(number * at / 5) for at in range(6)]
    return [range(a, b) for a, b in pairwise(ends)]


def _lines(
    facts: Facts, places: Sequence[int], columns: Sequence[_Column], fifth: int, of: range
) -> Trace:
    x: list[Any] = []
    y: list[Any] = []
    text: list[Any] = []
    custom: list[Any] = []
    for i in reversed(of):
        x += [*range(len(columns)), None]
        y += [*(column.places[i] for column in columns), None]
        name = called(facts["candidates"][places[i]])
        text += [f"{name}<br>{escape(c.name)} {escape(c.words[i])}" for c in columns] + [None]
        custom += [places[i]] * len(columns) + [None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": FIFTHS[fifth],
        "x": x,
        "y": y,
        "text": text,
        "customdata": custom,
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": f"@{COLOURS[fifth]}", "width": _width(fifth, len(of))},
        "connectgaps": False,
        "legendrank": 1000 + fifth,
    }


def _width(fifth: int, number: int) -> float:
    """Return how wide lines are: the best stand out, many are thin."""
    wide = 2.2 if fifth == 0 else 1.0
    return wide if number < 30 else wide / 2


def _parallel_layout(columns: Sequence[_Column]) -> dict[str, Any]:
    ends = [
        {
            "x": at,
            "y": y,
            "text": escape(column.ends[i]),
            "showarrow": False,
            "yanchor": anchor,
            "font": {"size": 11, "color": "@muted"},
        }
        for at, column in enumerate(columns)
        for i, (y, anchor) in enumerate(((-0.01, "top"), (1.01, "bottom")))
    ]
    return layout(
        height=430,
        xaxis=axis(
            tickvals=list(range(len(columns))),
            ticktext=[escape(column.name) for column in columns],
            range=[-0.35, len(columns) - 0.65],
            autotickangles=[0, -90],  # aslant, the first would not fit
            ticks="",
            showline=False,
        ),
        yaxis={"range": [-0.1, 1.1], "visible": False},
        annotations=ends,
    )


def size(facts: Facts) -> Plot:
    """Plot the loss against the parameters outside the embeddings, with its law."""
    return _scaling(
        facts,
        "size",
        "Loss against size",
        axis_title="parameters outside the embeddings",
        symbol="N",
    )


def compute(facts: Facts) -> Plot:
    """Plot the loss against the FLOPs of training, with its law."""
    return _scaling(
        facts,
        "compute",
        "Loss against compute",
        axis_title="FLOPs of training",
        symbol="C",
    )


def _scaling(facts: Facts, name: str, title: str, *, axis_title: str, symbol: str) -> Plot:
    found, metric = facts["scaling"][name], facts["scaling"]["metric"]
    if not found["points"]:
        return Plot(title=title, caption="No complete candidate to plot.")
    places = [point[0] for point in found["points"]]
    x, y = [point[1] for point in found["points"]], [point[2] for point in found["points"]]
    words = [
        f"{escape(metric)} {measure(b)}<br>{count(a)} {axis_title}"
        for a, b in zip(x, y, strict=True)
    ]
    each = points(facts, places, x, y, words)
    data = [marked(each, "candidate", "point")]
    law = found["law"]
    if "reason" in law:
        said = f"No law is fitted. {law['reason']}"
    else:
        along = np.geomspace(min(x), max(x), LAW_STEPS).tolist()
        fitted = [law["coefficient"] * at ** law["exponent"] for at in along]
        data.append(line(along, fitted, "fitted law", "text", dash="dot", width=1.5))
        said = (
            f"Fitted: {metric} = {law['coefficient']:.3g} · {symbol}^{law['exponent']:.3f} "
            f"({symbol}: {axis_title}), R² {law['r2']:.2f} of the logarithms over {law['count']} "
            f"complete candidates. {_law_words(law)}"
        )
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=[*data, *highlights(facts, each)],
        layout=layout(
            xaxis=axis(axis_title, **log_ticks(x)),
            yaxis=axis(metric),
        ),
    )


def _law_words(law: Mapping[str, Any]) -> str:
    if law["r2"] < 0.5:
        return "It explains less than half of what differs: shape and luck matter more here."
    if law["exponent"] > 0:
        return "Under this budget larger was worse."
    return f"Twice as much goes with {100 * (1 - 2 ** law['exponent']):.1f} % less loss."
