"""Plots of a search's course: the best so far, learning curves, what early measurements tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.records import FAILED_STATES
from nas.report.figures.plot import (
    Facts,
    Plot,
    Trace,
    axis,
    better,
    highlights,
    layout,
    line,
    marked,
    points,
    ranked_by,
    winner_and_reference,
)
from nas.wording import count, duration, measure, several

MANY = 100  # curves, from which on they are drawn thinner
TIMES = (("seconds", 1.0, 300.0), ("minutes", 60.0, 18_000.0), ("hours", 3600.0, float("inf")))


def progress(facts: Facts) -> Plot:
    """Plot the best so far against the time in the search, with the reference's line."""
    done = [
        (one["ended"], at)
        for at, one in enumerate(facts["candidates"])
        if one["role"] == "search"
        and one["state"] == "complete"
        and "value" in one
        and "ended" in one
    ]
    title, metric = "Best so far against time", ranked_by(facts)
    if not done:
        return Plot(title=title, caption="No candidate is complete, so there is no best one yet.")
    done.sort()
    end = max(done[-1][0], facts["cost"]["elapsed"] or 0.0)
    unit, per, _ = next(one for one in TIMES if end < one[2])
    steps = _best(facts, done)
    places = [at for _, at in done]
    values = [facts["candidates"][at]["value"] for at in places]
    words = [
        f"{metric} {measure(v)} after {duration(t)}" for (t, _), v in zip(done, values, strict=True)
    ]
    each = points(facts, places, [t / per for t, _ in done], values, words)
    x, y = [t / per for t, _, _ in steps], [value for _, value, _ in steps]
    traces = [
        marked(each, "candidate", "point", size=6),
        line([*x, end / per], [*y, y[-1]], "best so far", "best", shape="hv", width=2.5),
    ]
    said = f"Best {metric} {measure(y[-1])} (#{_number(facts, steps[-1][2])}) after "
    said += f"{duration(steps[-1][0])}, of {several(len(done), 'complete candidate')}."
    reference = winner_and_reference(facts).get("reference")
    if reference is not None:
        value = facts["candidates"][reference]["value"]
        traces.append(
            line([0, end / per], [value, value], "reference", "reference", dash="dash", width=1.5)
        )
        said += _passed(facts, steps, value)
    if facts["cost"]["breaks"]:
        said += " Breaks between two runs of the search are left out."
    marks = highlights(facts, each)  # the reference has its line in the legend
    said += " Single trainings: the finals, from fresh seeds, decide."
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=[*traces, *(one | {"showlegend": one["name"] != "reference"} for one in marks)],
        layout=layout(
            xaxis=axis(f"{unit} of search", rangemode="tozero"),
            yaxis=axis(f"{metric} ({better(facts)})", **_room(values)),
        ),
    )


def _best(facts: Facts, done: Sequence[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """Return when the best changed, to which value and by which candidate."""
    sign = -1.0 if better(facts).startswith("higher") else 1.0
    steps: list[tuple[float, float, int]] = []
    for seconds, at in done:
        value = facts["candidates"][at]["value"]
        if not steps or sign * value < sign * steps[-1][1]:
            steps.append((seconds, value, at))
    return steps


def _passed(facts: Facts, steps: Sequence[tuple[float, float, int]], value: float) -> str:
    sign = -1.0 if better(facts).startswith("higher") else 1.0
    first = next((one for one in steps if sign * one[1] < sign * value), None)
    if first is None:
        return f" None is better than the reference's {measure(value)} there."
    return f" The reference's {measure(value)} was passed after {duration(first[0])}."


def _room(values: Sequence[float]) -> dict[str, Any]:
    """Return a range that shows the better half well: the worst may be far away."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if len(ordered) < 8 or high == low:
        return {}
    quarter = len(ordered) // 4
    spread = ordered[-1 - quarter] - ordered[quarter]
    reach = 3 * max(spread, 1e-12)
    low, high = max(low, ordered[quarter] - reach), min(high, ordered[-1 - quarter] + reach)
    pad = 0.06 * (high - low)
    return {"range": [low - pad, high + pad]}


def _number(facts: Facts, at: int) -> Any:
    return facts["candidates"][at].get("number", "?")


def curves(facts: Facts) -> Plot:
    """Plot training losses against tokens, by how far each candidate came; paused ones faint."""
    title = "Learning curves"
    drawn = [one for one in facts["curves"] if one["train"] or one["rungs"]]
    if not drawn:
        return Plot(title=title, caption="No candidate has been measured at a rung yet.")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in drawn:
        groups.setdefault(_group(facts, one), []).append(one)
    marks = winner_and_reference(facts)
    traces: list[Trace] = []
    traces += [
        _joined(facts, groups[name], name, *_look(name, len(groups[name])))
        for name in sorted(groups, key=_depth)
    ]
    for name, at in reversed(marks.items()):
        own = [one for one in drawn if one["candidate"] == at]
        colour = "best" if name == "winner" else "reference"
        label = "best" if name == "winner" else name
        traces += [_joined(facts, own, label, colour, 2.5)] if own else []
    traces += _measured(facts, drawn)
    counts = ", ".join(f"{len(groups[name])} {name}" for name in sorted(groups, key=_depth))
    said = (
        f"Training loss against tokens of {several(len(drawn), 'candidate')} ({counts}); rings are "
        "validation losses at the rungs. Losses before and after the cooldown do not compare."
    )
    losses = [loss for one in drawn for loss in one["train"][1::2]]
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=traces,
        layout=layout(
            xaxis=axis("tokens trained", rangemode="tozero", exponentformat="SI"),
            yaxis=axis("loss", **_room(losses)),
        ),
    )


def _group(facts: Facts, curve: Mapping[str, Any]) -> str:
    state, tokens = facts["candidates"][curve["candidate"]]["state"], curve["rungs"][-1][0]
    if state == "complete":
        return "complete"
    if state in FAILED_STATES:
        return "failed"
    full = facts["study"]["rungs"][-1]
    return f"{state} at {count(tokens)}" if tokens < full else state


def _depth(group: str) -> tuple[int, str]:
    """Order groups so that what matters is drawn last, on top."""
    return {"complete": 2, "failed": 1}.get(group, 0), group


def _look(group: str, number: int) -> tuple[str, float]:
    """Return colour and width of a group's curves, thinner where there are many."""
    colour, width = {"complete": ("point", 1.0), "failed": ("bad", 1.2)}.get(group, ("faint", 0.8))
    return colour, width if number < MANY else width / 2


def _joined(
    facts: Facts, group: Sequence[Mapping[str, Any]], name: str, colour: str, width: float
) -> Trace:
    """Return many curves as one trace with gaps: a thousand traces would take seconds to draw."""
    x: list[Any] = []
    y: list[Any] = []
    places: list[Any] = []
    for one in group:
        x += [*one["train"][0::2], None]
        y += [*one["train"][1::2], None]
        number = _number(facts, one["candidate"])
        places += [[one["candidate"], number]] * (len(one["train"]) // 2) + [None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "customdata": places,
        "hovertemplate": "<b>#%{customdata[1]}</b><br>%{x:.3s} tokens, loss %{y:.4f}"
        "<extra></extra>",
        "line": {"color": f"@{colour}", "width": width},
        "connectgaps": False,
    }


def _measured(facts: Facts, drawn: Sequence[Mapping[str, Any]]) -> list[Trace]:
    """Return the validation losses at rungs, where there are any."""
    found = [
        (one["candidate"], tokens, loss)
        for one in drawn
        for tokens, _, loss in one["rungs"]
        if loss is not None
    ]
    if not found:
        return []
    places = [at for at, _, _ in found]
    words = [f"val_loss {measure(loss)} at {count(tokens)} tokens" for _, tokens, loss in found]
    trace = points(facts, places, [t for _, t, _ in found], [v for _, _, v in found], words)
    return [marked(trace, "validation", "text", "circle-open", 5)]


def fidelity(facts: Facts) -> Plot:
    """Plot what was measured at each rung against the end, with Kendall's tau."""
    title, metric = "Early measurement against the end", ranked_by(facts)
    rungs = [one for one in facts["fidelity"] if one["points"]]
    if not rungs:
        return Plot(
            title=title,
            caption="No complete candidate was measured at a rung below the full budget.",
        )
    colours = ("point", "third", "second", "reference")
    traces = []
    for at, one in enumerate(rungs):
        early, late = [p[1] for p in one["points"]], [p[2] for p in one["points"]]
        words = [f"{measure(a)}, at the end {measure(b)}" for a, b in zip(early, late, strict=True)]
        trace = points(facts, [p[0] for p in one["points"]], early, late, words)
        name = f"at {count(one['tokens'])} tokens"
        traces.append(marked(trace, name, colours[at % len(colours)]))
    said = " ".join(_tau_words(one) for one in rungs)
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=traces,
        layout=layout(
            xaxis=axis(f"{metric} at the rung"),
            yaxis=axis(f"{metric} at the end ({better(facts)})"),
            showlegend=True,
        ),
    )


def _tau_words(one: Mapping[str, Any]) -> str:
    where = f"At {count(one['tokens'])} tokens and at the end:"
    if one["tau"] is None:
        return f"{where} too few to rank."
    similar = one["tau_similar"]
    words = (
        "no two within 10 % of size"
        if similar is None
        else f"{similar:.2f} over {several(one['pairs_similar'], 'pair')} within 10 % of size"
    )
    return f"{where} Kendall's tau {one['tau']:.2f} over {one['count']} candidates, {words}."
