"""Every command's output fits its terminal, and has escape codes only where a terminal takes them.

All commands are asked of one small study; `test_every_command_is_looked_at` keeps the list whole.
"""

import re
import shlex

import pytest

from nas.cli import COMMANDS

# A line for each thing that a command shows. Those of one line a row for programs are no tables.
QUICK = (
    "search tiny.yaml",
    "search tiny.yaml --quiet",
    "trials tiny",
    "trials tiny --all",
    "trials tiny --pareto",
    "trials tiny --where 'val_loss < 0'",
    "best tiny",
    "show tiny",
    "show tiny 0",
    "spaces llama_tiny",
    "families",
    "tasks",
    "generate tiny --prompt Hello --max-new-tokens 5 --seed 0",
    "db check tiny",
    "db upgrade tiny",
    "watch tiny",
)
SLOW = (
    "spaces",
    "init notes.txt --force --minutes 0.1",
    "search tiny.yaml --dry-run",
    "doctor",
    "profile --space llama_tiny",
    "profile tiny --phase decode",
    "report tiny",
    "enqueue tiny n_layer=2 d_model=24 d_ff=32",
    "train tiny --set n_layer=1 --set d_model=24 --set d_ff=16",
    "finetune tiny --data notes.txt --out tuned --epochs 0.05",
    "export tiny --to hf",
    "search tiny.yaml --candidates 4 --quiet",  # its progress in a pipe is a log
    "rm tiny --yes",
)
# What needs more than this study: a classifier, another study, a server; and what is no text.
ELSEWHERE = {"predict", "compare", "dashboard", "schema"}
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def words(line):
    return shlex.split(line)


def too_wide(text, width):
    """Return the lines that are wider, though they could have been broken."""
    lines = [STYLE.sub("", line) for line in text.splitlines()]
    return [line for line in lines if len(line) > width and _longest(line) < width - 30]


def _longest(line):
    return max(map(len, line.split()), default=0)


def check_plain(found, width):
    assert too_wide(found.out, width) == []
    assert "\x1b" not in found.out + found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("line", QUICK)
def test_output_fits_and_is_plain_in_a_pipe(line, width, nas, place, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    found = nas(*words(line))
    assert found.code == 0
    assert found.out.strip()
    check_plain(found, width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 160])
def test_output_of_slow_commands_fits_too(width, nas, own_place, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for line in SLOW:
        found = nas(*words(line))
        assert found.code == 0, (line, found.err)
        check_plain(found, width)


def test_help_fits(nas):
    for name in ("", *(function.__name__ for function, _ in COMMANDS)):
        found = nas(*name.split(), "--help")
        assert found.code == 0
        check_plain(found, 80)
        assert "[[" not in found.out  # optional twice over


@pytest.mark.parametrize(
    "line", ["trials tiny", "show tiny", "search tiny.yaml", "spaces llama_tiny"]
)
def test_colour_changes_no_column_and_is_for_terminals_alone(line, nas, place, monkeypatch):
    plain = nas(*words(line)).out
    monkeypatch.setattr("nas.cli.terminal.coloured", lambda: True)
    coloured = nas(*words(line)).out
    assert "\x1b[" in coloured
    assert STYLE.sub("", coloured) == plain
    assert coloured.count("\x1b[0m") == len(STYLE.findall(coloured)) / 2  # each is switched off


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_it_is_not_wanted(variable, nas, place, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv(*variable)
    assert "\x1b" not in nas("trials", "tiny").out


def test_every_command_is_looked_at():
    seen = {line.split()[0] for line in (*QUICK, *SLOW)} | ELSEWHERE
    assert {function.__name__ for function, _ in COMMANDS} <= seen


def test_a_table_in_a_narrow_terminal_keeps_whole_numbers(nas, place, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    lines = nas("trials", "tiny").out.splitlines()
    assert max(map(len, lines[1:])) <= 30
    assert all(re.match(r" *\d+ +\d\.\d{4}", line) for line in lines[2:])
