"""What all plots share: their record, their layout, and traces of candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from nas.wording import count

Facts = Mapping[str, Any]
Trace = dict[str, Any]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HEIGHT = 380  # pixels
HOVER = "%{text}<extra></extra>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """One plot, or why there is none.

    Attributes:
        title: A few words.
        caption: What it shows and what came out, in sentences.
        alt: The same for who does not see it, with the main numbers.
        data: Plotly's traces; empty: there is nothing to show, and `caption` says why.
        layout: Plotly's layout.
        height: Of the drawing, in pixels.
    """

    title: str
    caption: str
    alt: str = ""
    data: Sequence[Trace] = ()
    layout: Mapping[str, Any] | None = None
    height: int = HEIGHT

    @property
    def figure(self) -> dict[str, Any]:
        """Plotly's JSON."""
        return {"data": list(self.data), "layout": dict(self.layout or {})}


def layout(*, height: int = HEIGHT, **more: Any) -> dict[str, Any]:
    """Return a layout: quiet axes, legend above, room for labels as they need it."""
    base: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 36, "b": 8},
        "font": {"family": FONT, "size": 13, "color": "@text"},
        "paper_bgcolor": "@ground",
        "plot_bgcolor": "@ground",
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "@panel",
            "bordercolor": "@line",
            "font": {"family": FONT, "size": 13, "color": "@text"},
            "align": "left",
        },
        "legend": legend(),
        "xaxis": axis(),
        "yaxis": axis(),
    }
    return base | more


def legend(**more: Any) -> dict[str, Any]:
    """Return a legend above the plot, side by side where there is room."""
    above = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return {"orientation": "h", "bgcolor": "rgba(0,0,0,0)", **above, **more}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis; a title may hold what others wrote and is escaped."""
    plain: dict[str, Any] = {
        "automargin": True,
        "gridcolor": "@line",
        "linecolor": "@line",
        "tickcolor": "@line",
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
    }
    if title:
        plain["title"] = {"text": escape(title), "standoff": 8}
    return plain | more


def log_ticks(values: Iterable[float]) -> dict[str, Any]:
    """Return what a logarithmic axis of counts needs besides: round ticks, written in short."""
    known = list(values)
    spread = max(known) / min(known)
    steps: tuple[float, ...] = (1, 2, 5) if spread < 3000 else (1,)
    if spread < 8:
        steps = (1, 1.5, 2, 3, 4, 5, 7)
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [count(tick) for tick in ticks]}


def called(candidate: Mapping[str, Any]) -> str:
    """Return a candidate's number and shape, escaped; those beside the search have no number."""
    number = candidate.get("number")
    name = candidate["role"] if number is None else f"#{number}"
    if candidate["role"] in ("finalist", "reference"):
        name += f" seed {candidate['seed']}"
    return f"<b>{escape(name)}</b> {escape(candidate['shape'])}"


def points(
    facts: Facts, places: Sequence[int], x: Sequence[Any], y: Sequence[Any], words: Sequence[str]
) -> Trace:
    """Return a trace of a point a candidate, which a click leads from.

    Args:
        facts: The facts.
        places: The candidates.
        x: Their places across.
        y: Their places up.
        words: What is said of each under its name, escaped by the caller where needed.
    """
    names = [called(facts["candidates"][at]) for at in places]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "customdata": list(places),
        "text": [f"{name}<br>{said}" for name, said in zip(names, words, strict=True)],
        "hovertemplate": HOVER,
    }


def marked(trace: Trace, name: str, colour: str, symbol: str = "circle", size: int = 7) -> Trace:
    """Return a trace of points with a name, a colour and a symbol of its own."""
    marker = {
        "color": f"@{colour}",
        "symbol": symbol,
        "size": size,
        "line": {"color": "@ground", "width": 0.7},
    }
    return {**trace, "name": name, "marker": marker}


def line(x: Sequence[Any], y: Sequence[Any], name: str, colour: str, **more: Any) -> Trace:
    """Return a line that says nothing when pointed at."""
    style = {"color": f"@{colour}", "width": more.pop("width", 2)}
    style |= {key: more.pop(key) for key in ("dash", "shape") if key in more}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": list(y),
        "name": name,
        "line": style,
        "hoverinfo": "skip",
        **more,
    }


def winner_and_reference(facts: Facts) -> dict[str, int]:
    """Return the candidates of the search that are of the winner's and the reference's shape."""
    found = {}
    for name in ("winner", "reference"):
        at = facts["result"][name]
        if at is None:
            continue
        shape = facts["candidates"][at]["architecture"]
        own = [
            i
            for i, one in enumerate(facts["candidates"])
            if one["architecture"] == shape and one["role"] == "search" and "value" in one
        ]
        complete = [i for i in own if facts["candidates"][i]["state"] == "complete"]
        if complete:
            found[name] = complete[0]
    return found


def highlights(facts: Facts, trace: Trace) -> list[Trace]:
    """Return the winner and the reference among the points of a trace, marked by themselves."""
    marks = {"winner": ("best", "star", 14), "reference": ("reference", "diamond", 11)}
    found = []
    for name, at in winner_and_reference(facts).items():
        if at in trace["customdata"]:
            i = trace["customdata"].index(at)
            kept = ("x", "y", "customdata", "text")
            one = {key: [trace[key][i]] if key in kept else trace[key] for key in trace}
            label = "best so far" if name == "winner" and unfinished(facts) else name
            found.append(marked(one, label, *marks[name]))
    return found[::-1]  # the winner last, on top


def unfinished(facts: Facts) -> bool:
    """Say whether the search has not come to its end."""
    return bool(facts["study"]["state"] != "finished")


def ranked_by(facts: Facts) -> str:
    """Return the objective that ranks."""
    name: str = facts["study"]["objectives"][0]["name"]
    return name


def better(facts: Facts) -> str:
    """Return which way the objective is better, for an axis."""
    way = facts["study"]["objectives"][0]["direction"]
    return "higher is better" if way == "maximize" else "lower is better"
