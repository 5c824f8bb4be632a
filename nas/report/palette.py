"""The colours of page and plots, light and dark; figures name them, and whoever draws fills in.

Every text colour has a contrast of 4.5 or more with the grounds it stands on, every line and point
one of 3 or more (WCAG 2.2, AA); a test computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARK = "@"  # begins the name of a colour in a figure

LIGHT: Mapping[str, str] = {
    "ground": "#ffffff",
    "panel": "#f4f6f8",
    "text": "#1b1f24",
    "muted": "#57606a",
    "line": "#d5dae0",
    "link": "#0b5cad",
    "point": "#2f6fb5",
    "best": "#b04a00",
    "reference": "#7a3fb0",
    "good": "#1a7038",
    "bad": "#b42318",
    "faint": "#868e96",
    "head": "#2f6fb5",
    "shared": "#1f7a74",
    "feed": "#b04a00",
    "first": "#b04a00",
    "second": "#8a6d00",
    "third": "#1f7a74",
    "fourth": "#2f6fb5",
    "fifth": "#868e96",
}
DARK: Mapping[str, str] = {
    "ground": "#10151b",
    "panel": "#1a212a",
    "text": "#e6e9ed",
    "muted": "#a3adb8",
    "line": "#333d48",
    "link": "#7ab8ff",
    "point": "#6cabf0",
    "best": "#ffb067",
    "reference": "#c9a2ff",
    "good": "#62d08c",
    "bad": "#ff938a",
    "faint": "#7d8894",
    "head": "#6cabf0",
    "shared": "#5cc7be",
    "feed": "#ffb067",
    "first": "#ffb067",
    "second": "#d9bf4e",
    "third": "#5cc7be",
    "fourth": "#6cabf0",
    "fifth": "#7d8894",
}
THEMES: Mapping[str, Mapping[str, str]] = {"light": LIGHT, "dark": DARK}


def filled_in(plain: Any, colours: Mapping[str, str]) -> Any:
    """Return a figure with the colours that its `@name` texts stand for."""
    if isinstance(plain, str):
        return colours.get(plain[1:], plain) if plain.startswith(MARK) else plain
    if isinstance(plain, Mapping):
        return {name: filled_in(value, colours) for name, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [filled_in(value, colours) for value in plain]
    return plain
