"""From facts to one HTML file that needs nothing else: no network, no other file, no server.

Everything that came from a study is escaped by the templates, or is JSON whose `<`, `>` and `&` are
written as escapes. A content security policy lets only the page's own scripts run, by a number that
follows from the content, so that nothing which a study holds can run or fetch anything.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from nas.report.drawing import draw, widest
from nas.report.figures import plots_of
from nas.report.figures.effort import cost_words
from nas.report.figures.plot import Plot
from nas.report.palette import THEMES
from nas.report.table import cell
from nas.wording import duration, several

ASSETS = "assets"
# What must not stand in a script element, and U+2028 and U+2029, which JavaScript once took for
# ends of lines.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
# The effort of compression: one more level costs more time than the bytes are worth.
LEVEL = 6


def render(facts: Mapping[str, Any]) -> str:
    """Return the page of a study's facts (see `facts.gather`); equal facts give an equal page."""
    plots = plots_of(facts)
    full = widest(facts["shapes"].values())
    shapes = {name: draw(shape, full) for name, shape in facts["shapes"].items()}
    winner = facts["result"]["winner"]
    return filled(
        "page.html.j2",
        facts=facts,
        plots=plots,
        shapes=shapes,
        js="report.js",
        shape=None if winner is None else shapes[_architecture(facts, winner)],
        reference=_reference_shape(facts, shapes),
        version=facts["provenance"]["versions"].get("transformer-nas", ""),
        cost=cost_words(facts),
    )


def filled(
    name: str,
    *,
    facts: Mapping[str, Any],
    plots: Mapping[str, Plot],
    shapes: Mapping[str, str],
    js: str,
    **more: Any,
) -> str:
    """Return a page of ours from its template.

    Args:
        name: The template.
        facts: What the page is drawn from; it is embedded, and known to the template.
        plots: Those with data are embedded, each apart, so that one is unpacked when it is drawn.
        shapes: Drawings by architecture id, for the page's scripts.
        js: The page's own script, which follows `page.js`.
        more: What else the template knows.
    """
    content = embedded_json(facts)
    template = _environment().get_template(name)
    figures = {name: plot.figure for name, plot in plots.items() if plot.data}
    return str(
        template.render(
            facts=facts,
            plots=plots,
            themes=THEMES,
            themes_json=embedded_json(THEMES),
            facts_json=content,
            figures={name: packed(_compact(figure)) for name, figure in figures.items()},
            packed_shapes=packed(_compact(shapes)),
            plotly=packed_plotly(),
            css=_asset("report.css"),
            js=_asset("page.js") + _asset(js),
            nonce=hashlib.sha256(content.encode()).hexdigest()[:32],
            **more,
        )
    )


def _compact(plain: Any) -> str:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False)


def _architecture(facts: Mapping[str, Any], place: int) -> str:
    architecture: str = facts["candidates"][place]["architecture"]
    return architecture


def _reference_shape(facts: Mapping[str, Any], shapes: Mapping[str, Any]) -> Any:
    """Return the reference's drawing, where it is another shape than the winner's."""
    winner, reference = facts["result"]["winner"], facts["result"]["reference"]
    if reference is None or winner is None:
        return None
    own = _architecture(facts, reference)
    return None if own == _architecture(facts, winner) else shapes[own]


def embedded_json(plain: Any) -> Any:
    """Return JSON that may stand in a script element, whatever it holds."""
    from markupsafe import Markup

    text = json.dumps(plain, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.translate(_ESCAPES))  # noqa: S704  # what could end the element is escaped


def packed(text: str) -> str:
    """Return a text compressed, in letters that HTML takes; equal texts give equal letters."""
    return base64.b64encode(gzip.compress(text.encode(), LEVEL, mtime=0)).decode()


@cache
def packed_plotly() -> str:
    """Return plotly.js, packed (see the README beside it)."""
    source = files("nas.report").joinpath(ASSETS, "plotly-basic.min.js.gz").read_bytes()
    return packed(_eager(gzip.decompress(source).decode()))


def _eager(script: str) -> str:
    """Return plotly.js so that V8 reads it once: its one large function in parentheses.

    Without them an engine skims a function first and reads it again when it is called, at once.
    """
    begin, end = "this, () => {\n", "\n}));"
    tail = script.rstrip()
    if script.count(begin) != 1 or not tail.endswith(end):
        return script  # of another build, which works as well
    head, _, rest = tail.partition(begin)
    return f"{head}this, (() => {{\n{rest.removesuffix(end)}\n}})));\n"


def _asset(name: str) -> Any:
    from markupsafe import Markup

    return Markup(files("nas.report").joinpath(ASSETS, name).read_text(encoding="utf-8"))  # noqa: S704  # our own file


@cache
def _environment() -> Any:
    import jinja2

    def load(name: str) -> str | None:
        file = files("nas.report").joinpath(ASSETS, name)
        return file.read_text(encoding="utf-8") if file.is_file() else None

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"duration": duration, "cell": cell}
    environment.globals["several"] = several
    return environment
