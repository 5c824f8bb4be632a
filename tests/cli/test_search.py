"""`nas search`: from settings to a result, stopped, resumed, raised and estimated."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nas as package
from nas.driver.settings import name_from_data

REPOSITORY = Path(__file__).parents[2]


def test_finished_search_shows_its_result_and_leaves_with_0(nas, place):
    found = nas("search", "tiny.yaml")
    assert found.code == 0
    assert found.err == ""
    for words in (
        "study tiny by the study file tiny.yaml",
        "3 candidates (3 complete)",
        "best in the search",
        "over 2 fresh seeds",
        "studies/tiny/study.db",
        'model = nas.load("tiny")',
        'nas generate tiny --prompt "The "',
    ):
        assert words in found.out
    assert re.search(r"winner against the reference|nothing beat the reference", found.out)
    assert max(map(len, found.out.splitlines())) <= 100


def test_python_of_the_result_loads_the_winner(nas, place, capsys):
    lines = nas("search", "tiny", "--quiet").out.splitlines()
    begin = lines.index("in Python") + 1
    code = "\n".join(line.strip() for line in lines[begin : begin + 3])
    exec(code)
    assert capsys.readouterr().out.startswith("The ")


def test_study_without_a_file_goes_on_by_what_it_stored(nas, own_place):
    (own_place / "tiny.yaml").unlink()
    found = nas("search", "tiny")
    assert found.code == 0
    assert "by the settings that study 'tiny' stored" in found.out
    assert nas("search", "studies/tiny").code == 0


def test_raised_limit_goes_on_from_what_is_there(nas, own_place):
    found = nas("search", "tiny", "--candidates", "4")
    assert found.code == 0
    assert "goes on from" in found.out
    assert "#3 " in found.out
    assert "4 candidates (4 complete)" in found.out
    rows = package.open_study("tiny").trials(role="search")
    assert len(rows) == 4


def test_plain_lines_have_no_escape_codes(nas, own_place):
    found = nas("search", "tiny.yaml", "--candidates", "4")
    assert "\x1b" not in found.out
    assert sum(line.startswith("#3   ") for line in found.out.splitlines()) == 1


def test_changed_setting_of_an_existing_study_is_refused(nas, place):
    found = nas("search", "tiny.yaml", "--seed", "7")
    assert found.code == 2
    assert "seed: 0 in the study, 7 asked for" in found.err
    assert len(found.err.splitlines()) == 1


def test_dry_run_makes_no_study(nas, empty_place):
    found = nas("search", "tiny.yaml", "--dry-run")
    assert found.code == 0
    assert re.search(r"shapes +12, 100.0% feasible", found.out)
    assert re.search(r"candidates +about \d+ an hour", found.out)
    assert re.search(r"disk +at most [\d.]+ [kMG]B", found.out)
    assert re.search(r"limits +3 candidates take about", found.out)
    assert not (empty_place / "studies").exists()


def test_dry_run_says_what_minutes_allow(nas, place):
    found = nas("search", "tiny.yaml", "--dry-run", "--minutes", "0.001", "--candidates", "9")
    assert "studies/tiny exists" in found.out
    assert "0.001 min are time for about 1 candidate; 9 candidates take about" in found.out


def test_own_data_names_the_study(nas, empty_place):
    found = nas("search", "--data", "notes.txt", "--dry-run", "--space", "llama_tiny")
    assert found.code == 0
    assert "study notes by the study file shipped quickstart.yaml" in found.out


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("a/wiki.txt.gz", "wiki"),
        ("builtin:python-source", "python-source"),
        ("./Mein Tagebuch (2).txt", "Mein-Tagebuch-2"),
        ("/", "data"),
        ("päper.txt", "p-per"),
        (".notes", "notes"),
    ],
)
def test_name_from_data_is_one_that_a_study_can_have(data, name):
    assert name_from_data(data) == name


def test_interrupted_search_keeps_everything_and_goes_on(nas, empty_place):
    pid, terminal = pty.fork()
    command = [sys.executable, "-m", "nas", "search", "tiny.yaml", "--candidates", "11"]
    if pid == 0:
        os.environ |= {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "80"}
        os.execv(sys.executable, [*command, "--set", "per_candidate.tokens=8192"])
    output = read_until(terminal, rb"#1 .*\n")
    os.write(terminal, b"\x03")
    output += read_until(terminal, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert b"\x1b[" in output
    again = "nas search tiny.yaml --candidates 11 --set per_candidate.tokens=8192"
    assert f"everything is kept. Go on with: {again}".encode() in output
    kept = {row.candidate_id for row in package.open_study("tiny").trials()}
    assert len(kept) >= 2

    found = nas("search", "tiny", "--candidates", len(kept))
    assert found.code == 0
    assert kept <= {row.candidate_id for row in package.open_study("tiny").trials()}


def read_until(terminal, pattern, seconds=60):
    """Read a terminal until a pattern has come, or to its end."""
    output, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how a terminal says that the other side has gone
            return output
        output += part
        if not part or (pattern is not None and re.search(pattern, output)):
            return output
    raise AssertionError(f"not within {seconds} s: {output[-500:]!r}")


def test_output_that_nobody_reads_ends_quietly(place):
    run = subprocess.run(
        f"{sys.executable} -m nas trials tiny --format json | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert run.stdout == "[\n"
    assert run.stderr == ""
