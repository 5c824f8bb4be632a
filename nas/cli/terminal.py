"""What the terminal can show, and the one way to write to it.

Standard output is for results and progress, standard error for errors and for what would spoil a
result that is read by a program.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap

import typer

from nas.wording import CONTROLS, written_out
from nas.wording import visible as visible

_CONTROL_OR_STYLE = re.compile(f"(?P<style>\\x1b\\[[0-9;]*m)|[{CONTROLS}]")


def prepare() -> None:
    """Let characters that a stream cannot show come out as `?` instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def width() -> int:
    """Return the columns of the terminal, or what COLUMNS says; 80 if neither is known."""
    return shutil.get_terminal_size((80, 24)).columns


def height() -> int:
    """Return the rows of the terminal, or what LINES says; 24 if neither is known."""
    return shutil.get_terminal_size((80, 24)).lines


def coloured() -> bool:
    """Say whether standard output takes escape codes for colour."""
    return _takes_codes() and not os.environ.get("NO_COLOR")


def _takes_codes() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def live() -> bool:
    """Say whether lines may be redrawn in place."""
    if not _takes_codes() or os.environ.get("CI"):
        return False
    if sys.platform != "win32":
        return "TERM" in os.environ
    from rich.console import detect_legacy_windows  # whether its console takes codes at all

    return not detect_legacy_windows()


def symbol(nice: str, ascii_text: str) -> str:
    """Return `nice` if standard output can show it."""
    try:
        nice.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ascii_text
    return nice


def say(text: str = "") -> None:
    """Write lines to standard output; of control characters only our own styles act."""
    typer.echo(harmless(text), color=coloured())


def harmless(text: str) -> str:
    """Return a text with its control characters written out, but for our own styles."""
    return _CONTROL_OR_STYLE.sub(_but_styles, text)


def _but_styles(found: re.Match[str]) -> str:
    return found[0] if found["style"] else written_out(found)


def prose(text: str, *, indent: str = "") -> None:
    """Write a sentence to standard output, in as many lines as the terminal needs.

    A pipe that nobody gave a width gets it in one line.

    Args:
        text: The sentence; a newline before it is an empty line.
        indent: Stands before each line; those after the first are indented by two more.
    """
    while text.startswith("\n"):
        say()
        text = text[1:]
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        say(indent + text)
        return
    lines = textwrap.wrap(
        text,
        max(len(indent) + 20, width()),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    say("\n".join(lines))


def exact(text: str) -> None:
    """Write a text as it is where a program reads it, and as `visible` shows it on a terminal."""
    typer.echo(visible(text) if sys.stdout.isatty() else text, color=True)


def write(text: str) -> None:
    """Write to standard output, without an end of line."""
    typer.echo(text, color=coloured(), nl=False)


def aside(text: str) -> None:
    """Write a line to standard error."""
    typer.echo(visible(text), err=True)


def heading(text: str) -> None:
    """Write a line that stands out where there is colour."""
    say(typer.style(text, bold=True) if coloured() else text)


def good(text: str) -> str:
    """Return a text in green where there is colour."""
    return typer.style(text, fg="green") if coloured() else text


def bad(text: str) -> str:
    """Return a text in red where there is colour."""
    return typer.style(text, fg="red") if coloured() else text


def accent(text: str) -> str:
    """Return a text in cyan where there is colour."""
    return typer.style(text, fg="cyan") if coloured() else text


def faint(text: str) -> str:
    """Return a text in a weaker colour where there is colour."""
    return typer.style(text, dim=True) if coloured() else text
