"""A shape drawn layer by layer, as HTML: bars to scale, and the numbers in words beside them.

All shapes of a study are drawn to one scale, so that two can be compared by eye. The bars are for
the eye alone; what they show is written beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup, escape

from nas.wording import count

MOST_LAYERS = 24  # of a stack that are drawn one by one; of more, runs of equal layers are one


def widest(shapes: Iterable[Mapping[str, Any]]) -> float:
    """Return the largest width in some shapes: what fills a bar."""
    widths = [1.0]
    for shape in shapes:
        if isinstance(shape["d_model"], int):
            widths.append(shape["d_model"])
        for stack in shape["stacks"]:
            for layer in stack["layers"]:
                widths += [float(layer.get("d_ff", 0)), float(_heads_width(layer, "n_head"))]
    return max(widths)


def draw(shape: Mapping[str, Any], full: float) -> Markup:
    """Return a shape as HTML, safe to put on a page.

    Args:
        shape: Its facts (see `outcome.shape_facts`).
        full: The width that fills a bar (see `widest`).
    """
    parts = [_head(shape, full)]
    parts += [_stack(stack, full) for stack in shape["stacks"]]
    others = ", ".join(f"{name} {value}" for name, value in shape["others"].items())
    if others:
        parts.append(Markup('<p class="others">{}</p>').format(others))
    return Markup('<div class="shape">{}</div>').format(Markup("").join(parts))


def _head(shape: Mapping[str, Any], full: float) -> Markup:
    width, params = shape["d_model"], shape["params"]
    said = [f"{shape['family']}"]
    if isinstance(width, int):
        said.append(f"width {width}")
    if params:
        said.append(f"{count(params)} parameters")
    bar = _bar("width", width, full) if isinstance(width, int) else Markup("")
    line = Markup(
        '<p class="stem"><span class="bars" aria-hidden="true">{}</span><span>{}</span></p>'
    )
    return line.format(bar, ", ".join(said))


def _stack(stack: Mapping[str, Any], full: float) -> Markup:
    depth = max((layer["last"] for layer in stack["layers"]), default=0)
    runs = stack["layers"]
    if depth <= MOST_LAYERS:
        runs = [
            {**run, "first": at, "last": at}
            for run in runs
            for at in range(run["first"], run["last"] + 1)
        ]
    name = stack["name"] or "layers"
    title = Markup('<p class="stack-name">{}</p>').format(f"{name}: {depth}")
    layers = Markup("").join(_layer(run, full) for run in runs)
    return Markup('{}<ol class="layers">{}</ol>').format(title, layers)


def _layer(run: Mapping[str, Any], full: float) -> Markup:
    # Not one template: a page draws tens of thousands of layers, and only words need escaping.
    numbers = (
        f"{run['first']}" if run["first"] == run["last"] else f"{run['first']} to {run['last']}"
    )
    bars = [
        _bar("heads", _heads_width(run, "n_head"), full, run.get("n_head", 1)),
        _bar("shared", _heads_width(run, "n_kv_head"), full, run.get("n_kv_head", 1)),
        _bar("feed", run.get("d_ff", 0), full),
    ]
    return Markup(  # noqa: S704  # numbers, our own bars, and words that are escaped
        f'<li><b>{numbers}</b><span class="bars" aria-hidden="true">{"".join(bars)}</span>'
        f"<span>{escape(_layer_words(run))}</span></li>"
    )


def _heads_width(layer: Mapping[str, Any], name: str) -> int:
    return int(layer.get(name, 0) or 0) * int(layer.get("head_dim", 0) or 0)


def _bar(kind: str, width: float, full: float, pieces: int = 1) -> Markup:
    if not width:
        return Markup("")
    share = max(0.5, 100 * width / full)
    many = f";--n:{pieces}" if pieces > 1 else ""
    return Markup(f'<i class="{kind}" style="width:{share:.4g}%{many}"></i>')  # noqa: S704  # numbers


def _layer_words(run: Mapping[str, Any]) -> str:
    said = []
    if "n_head" in run:
        heads = f"{run['n_head']} heads" if run["n_head"] != 1 else "1 head"
        said.append(f"{heads} of {run['head_dim']}" if "head_dim" in run else heads)
    if run.get("n_kv_head") not in (None, run.get("n_head")):
        said.append(f"{run['n_kv_head']} key/value")
    if "d_ff" in run:
        said.append(f"feed-forward {run['d_ff']}")
    if "note" in run:
        said.append(run["note"])
    return ", ".join(said)
