"""The plots of a report as pictures, by kaleido, which draws in a Chrome without a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.errors import InputError
from nas.report.figures import plots_of
from nas.report.palette import LIGHT, filled_in

WIDTH, SCALE = 1000, 2  # pixels of the layout, and pixels of the picture for each
TITLE_ROOM = 48

NEEDS = (
    "pictures are drawn by kaleido in a Chrome; run: pip install 'transformer-nas[images]', and "
    "install Chrome or Chromium where there is none (Debian: apt install chromium; any: "
    "plotly_get_chrome); BROWSER_PATH names one that is elsewhere"
)


def write_images(facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a PNG of each plot that has something to show, and return where they are.

    Args:
        facts: Of a study (see `facts.gather`).
        folder: Where to; it is made where it is not there.

    Raises:
        InputError: If kaleido or a Chrome is missing, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    plots = {name: plot for name, plot in plots_of(facts).items() if plot.data}
    files = {name: folder / f"{name}.png" for name in plots}
    drawings = [
        {
            "fig": _titled(plot.figure, f"{plot.title}: {facts['study']['name']}"),
            "path": str(files[name]),
            "opts": {
                "format": "png",
                "width": WIDTH,
                "height": plot.height + TITLE_ROOM,
                "scale": SCALE,
            },
        }
        for name, plot in plots.items()
    ]
    if drawings:
        _draw(drawings)
    return list(files.values())


def _titled(figure: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Return a figure in light colours with its title inside: a picture stands alone."""
    from html import escape

    found: dict[str, Any] = filled_in(figure, LIGHT)
    layout = found["layout"]
    layout["height"] += TITLE_ROOM
    layout["margin"] = {"l": 20, "r": 20, "t": 16 + TITLE_ROOM, "b": 20}
    layout["title"] = {"text": escape(title), "x": 0.02, "xanchor": "left", "y": 0.97}
    return found


def _draw(drawings: Sequence[Mapping[str, Any]]) -> None:
    try:
        import kaleido
        from choreographer import errors
    except ImportError:
        raise InputError(NEEDS) from None
    try:
        # Without MathJax, which it would fetch from the network.
        kaleido.write_fig_from_object_sync(drawings, kopts={"mathjax": False})
    except (
        errors.BrowserClosedError,
        errors.BrowserDepsError,
        errors.BrowserFailedError,
        errors.ChromeNotFoundError,
    ) as error:
        words = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"no Chrome could be started ({words}); {NEEDS}") from error
