"""Help is there for every command, quick, and loads nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli import COMMANDS

REPOSITORY = Path(__file__).parents[2]
HEAVY = {"torch", "optuna", "sqlalchemy", "numpy", "alembic", "yaml", "rich"}
NAMES = [function.__name__ for function, _ in COMMANDS]


@pytest.mark.parametrize(("function", "example"), COMMANDS, ids=NAMES)
def test_help_of_every_command_says_what_it_does_and_has_an_example(nas, function, example):
    found = nas(function.__name__, "--help")
    assert found.code == 0
    assert (function.__doc__ or "").strip().splitlines()[0] in " ".join(found.out.split())
    assert f"Example: {example}" in found.out
    assert example.startswith(f"nas {function.__name__}")


def test_help_lists_every_command_with_a_whole_sentence(nas):
    found = nas("--help")
    assert found.code == 0
    assert all(f"  {name} " in found.out for name in NAMES)
    assert "..." not in found.out.partition("Commands:")[2]
    assert nas().out == found.out


def test_every_option_has_help(nas):
    for name in NAMES:
        lines = nas(name, "--help").out.partition("Options:")[2].splitlines()
        for number, line in enumerate(lines):
            if line.lstrip().startswith("--"):
                below = lines[number + 1] if number + 1 < len(lines) else ""
                assert "  " in line.strip() or below.startswith(" " * 10), f"{name}: {line}"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from nas.cli import main; main(['--help']); main(['search', '--help']);"
        f"print('heavy:', *({HEAVY!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1].strip() == "heavy:"


def test_version_is_one_line(nas):
    found = nas("--version")
    assert found.code == 0
    assert found.out.startswith("nas ")
    assert len(found.out.splitlines()) == 1


def test_module_runs_as_the_command():
    run = subprocess.run(
        [sys.executable, "-m", "nas", "tasks"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "160"},
    )
    assert "language_modeling" in run.stdout
