"""`nas init`: a commented study file for data and for this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli import terminal
from nas.cli.choosing import shown_path
from nas.cli.tables import show_pairs
from nas.cli.wording import count, several
from nas.errors import InputError

if TYPE_CHECKING:
    from nas.proposal import Proposal

MINUTES = 5.0
LARGE = 32 * 2**20  # bytes from which preparing the data just to time them takes too long


def init(
    data: Annotated[
        str,
        typer.Argument(help="A file, a folder, or builtin:NAME.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The study file; its name is the study's. By itself NAME.yaml here, NAME from "
            "DATA.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What is learned, where DATA do not tell: nas tasks.", show_default=False
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.05, help="How long the search may take here.")
    ] = MINUTES,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Look at data and write a study file for them and this machine.

    It names task, search space, recipe and a budget that this machine can do in the minutes, each
    line with a comment. `nas search FILE` runs it as it is.
    """
    from nas.proposal import look, study_text

    file = _free(out, data, force=force)
    sight = look(data, task)
    terminal.say(f"{data}: {sight.words}")
    for note in sight.notes:
        _say_note(note)
    proposal = _proposed(sight, minutes, file.stem)
    _write(file, study_text(proposal, file))
    _show(proposal, file)


def _free(out: Path | None, data: str, *, force: bool) -> Path:
    """Return the file to write, if nothing is there that must stay."""
    from nas.config import check_study_name
    from nas.driver.settings import name_from_data

    file = Path(f"{name_from_data(data)}.yaml") if out is None else out
    if file.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out: got '{file}', expected a file that ends in .yaml")
    check_study_name(file.stem)
    if not file.parent.is_dir():
        raise InputError(f"--out: no folder {file.parent}")
    if file.exists():
        if _is_same(file, data):
            raise InputError(f"{file}: is the data itself; choose another file with --out")
        if not force:
            raise InputError(f"{file}: is there already; --out another one, or --force")
    return file


def _is_same(file: Path, data: str) -> bool:
    path = Path(data)
    return path.exists() and file.samefile(path)


def _proposed(sight: object, minutes: float, name: str) -> Proposal:
    """Return what is proposed once the machine was timed on it, where that is quick."""
    from nas.config import config_from_plain
    from nas.proposal import measured_machine, propose, study_text, this_machine
    from nas.proposal.sight import Sight
    from nas.yaml_strict import load_yaml_text

    assert isinstance(sight, Sight)
    machine = this_machine()
    first = propose(sight, machine, minutes)
    if sight.size > LARGE:
        _say_note("the data are large: the pace of this machine is assumed, not measured")
        return first
    terminal.say("timing a few steps on this machine...")
    here = Path.cwd() / "study.yaml"
    plain = load_yaml_text(study_text(first, here), "the proposal")
    config = config_from_plain(plain, where="the proposal", name=name)
    return propose(sight, measured_machine(machine, config), minutes)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error


def _say_note(text: str) -> None:
    import textwrap

    for line in textwrap.wrap(
        text, max(40, terminal.width()), initial_indent="- ", subsequent_indent="  "
    ):
        terminal.say(line)


def _show(proposal: Proposal, file: Path) -> None:
    sight, finalists = proposal.sight, proposal.finalists
    terminal.say()
    show_pairs(
        {
            "task": f"{sight.task} (another: --task)",
            "space": proposal.space,
            "machine": proposal.machine.words(),
            "a candidate": f"{count(proposal.amount)} {proposal.unit}",
            "search": f"about {proposal.minutes:g} min, at most "
            f"{several(proposal.candidates, 'candidate')}",
            "finals": f"{finalists.top} of the best and the reference, "
            f"{several(finalists.seeds, 'seed')} each",
        }
    )
    terminal.say()
    terminal.say(f"wrote {shown_path(file.absolute())}; look it over, then:")
    terminal.say(f"  nas search {_quoted(str(file))}")


def _quoted(text: str) -> str:
    """Return a path as this system's shell takes it."""
    if sys.platform == "win32":
        return f'"{text}"' if " " in text else text
    return shlex.quote(text)
