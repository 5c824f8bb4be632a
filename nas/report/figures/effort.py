"""The plot of what a search took."""

from __future__ import annotations

from nas.report.figures.plot import Facts, Plot, axis, layout, legend
from nas.report.running import PARTS
from nas.wording import count, duration, several

LEAST_SHARE = 0.002  # of all, below which a part would be a name without a bar
COLOURS = dict(zip(PARTS, ("point", "third", "second", "reference", "bad"), strict=True))


def cost(facts: Facts) -> Plot:
    """Plot the workers' time by what it went for."""
    title, found = "Where the time went", facts["cost"]
    if not found["spent"]:
        return Plot(title=title, caption="No candidate has ended, so no time is known.")
    rows = [*found["spent"]]
    per, unit = (60.0, "minutes") if found["busy"] + found["waiting"] >= 300 else (1.0, "seconds")
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": part,
            "y": rows,
            "x": [found["spent"][row][part] / per for row in rows],
            "marker": {"color": f"@{COLOURS[part]}"},
            "text": [f"{part}: {duration(found['spent'][row][part])}" for row in rows],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        }
        for part in PARTS
        if sum(found["spent"][row][part] for row in rows) > LEAST_SHARE * found["busy"]
    ]
    traces.append(
        {
            "type": "bar",
            "orientation": "h",
            "name": "waiting and other",
            "y": ["waiting and other"],
            "x": [found["waiting"] / per],
            "marker": {"color": "@faint"},
            "text": [f"waiting and other: {duration(found['waiting'])}"],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        }
    )
    said = cost_words(facts)
    return Plot(
        title=title,
        caption=said,
        alt=f"{title}. {said}",
        data=traces,
        layout=layout(
            height=260,
            barmode="stack",
            legend=legend(traceorder="normal"),
            xaxis=axis(f"{unit} of all workers together", rangemode="tozero"),
            yaxis=axis(categoryorder="array", categoryarray=["waiting and other", *rows[::-1]]),
        ),
        height=260,
    )


def cost_words(facts: Facts) -> str:
    """Return what a search took in sentences."""
    found = facts["cost"]
    parts = {name: sum(group[name] for group in found["spent"].values()) for name in PARTS}
    total = found["workers"] * (found["elapsed"] or 0.0) or 1.0
    said = f"{duration(found['elapsed'] or 0.0)} of search on {several(found['workers'], 'worker')}"
    if found["per_hour"]:
        said += f": {several(found['tried'], 'candidate')}, {found['per_hour']:.0f} an hour"
    said += (
        f". Of the workers' time {_share(parts['training'], total)} went into training, "
        f"{_share(parts['validating'], total)} into validating, "
        f"{_share(found['waiting'], total)} into waiting and what is no candidate's."
    )
    if found["tokens_per_second"]:
        said += f" {count(found['tokens_per_second'])} tokens a second of training."
    return said


def _share(seconds: float, total: float) -> str:
    return f"{100 * seconds / total:.0f} %"
