"""`nas doctor`: what this machine offers, and what to do about what is missing."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.tables import GAP, show_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nas.doctor.finding import Finding


def doctor(
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="Import every package that is there, which takes longer."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look this machine over: what it offers, what is missing.

    Of what is missing it says what to do. The exit status is 0 when searches can run and 1 when
    they cannot. Passwords are not shown.
    """
    from nas.doctor import can_search, examine

    findings = examine(thorough=thorough)
    fine = can_search(findings)
    if as_json:
        show_json({"can_search": fine, "findings": [asdict(one) for one in findings]})
    else:
        _show(findings, fine=fine)
    if not fine:
        raise typer.Exit(1)


def _show(findings: Sequence[Finding], *, fine: bool) -> None:
    from nas.doctor.finding import OK

    widest = max(len(one.name) for one in findings)
    states = max(len(one.state) for one in findings)
    indent = " " * (widest + states + 2 * len(GAP))
    for one in findings:
        begin = f"{one.name:<{widest}}{GAP}{one.state:<{states}}{GAP}"
        lines = [*_wrapped(begin, one.found, indent), *_wrapped(indent, one.advice, indent)]
        lines[0] = lines[0].replace(one.state, _coloured(one.state), 1) if widest else lines[0]
        terminal.say("\n".join(lines))
    missing = [one for one in findings if one.state != OK]
    terminal.say()
    terminal.heading("searches can run" if fine else "searches cannot run: see the lines with bad")
    if fine and missing:
        terminal.say("what is missing or noted is optional; the line below it says what to do")


def _wrapped(begin: str, text: str, indent: str) -> list[str]:
    room = max(30, terminal.width() - len(indent))
    lines = textwrap.wrap(
        terminal.visible(text), room, break_long_words=False, break_on_hyphens=False
    )
    return [(begin if number == 0 else indent) + line for number, line in enumerate(lines)]


def _coloured(state: str) -> str:
    from nas.doctor.finding import BAD, OK

    if state == OK:
        return terminal.good(state)
    return terminal.bad(state) if state == BAD else terminal.faint(state)
