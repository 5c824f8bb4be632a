"""Benchmarks of searching run as they are called, at their smallest."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).with_name("benchmarks")

pytestmark = pytest.mark.slow


def run(script, *arguments):
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_what_is_recorded_can_be_replayed(tmp_path):
    table = tmp_path / "table.csv"
    recorded = run(
        "record_training.py", "--out", table, "--shapes", 3, "--tokens", 24_576, "--seeds", 1
    )
    assert len(recorded.splitlines()) == 3
    told = run("replay_training.py", "--table", table, "--seeds", 2, "--only", "auto", "random")
    assert "3 shapes" in told
    assert [line.split()[0] for line in told.splitlines()[-2:]] == ["auto", "random"]


def test_strategies_are_replayed_on_made_up_tables(tmp_path):
    numbers = tmp_path / "numbers.json"
    told = run("replay.py", "--seeds", 1, "--strategies", "random", "evolution", "--json", numbers)
    assert "mean over sets and caps" in told
    assert numbers.is_file()


def test_rates_of_two_shapes_and_what_a_proposal_costs():
    small = ["--widths", 32, "--depths", 1, 2, "--seeds", 1, "--tokens", 1536]
    told = run("rate_table.py", *small, "--factors", 0.01, 1, "--jobs", 2)
    assert "best base rates are 1 to 1 times" in told  # a hundredth of it learns nothing
    assert "evolution" in run("proposing.py", "--times", 2, "--strategies", "evolution")
