"""What a search tells while it runs, by events made here."""

import json
from pathlib import Path

import pytest

from nas.cli.progress import LiveView, PlainView, Silent, listener_for
from nas.cli.standing import footer, frame, opening_line, running_line
from nas.config import BudgetConfig
from nas.driver.events import (
    CandidateEnded,
    CandidateStarted,
    FinalsStarted,
    Note,
    SearchStarted,
)
from nas.driver.standing import Board, Standing
from nas.families import architecture
from nas.records import Numerics, Outcome, Progress, Recipe, from_plain, to_plain


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def search_started(**changes):
    fields = {
        "study": "tiny",
        "folder": Path("studies/tiny"),
        "resumed": 0,
        "slots": 2,
        "numerics": Numerics(device="cpu", precision="bf16", attention="bmm", threads=1),
        "rungs": (100_000, 400_000),
        "max_candidates": 40,
        "max_seconds": 120.0,
        "elapsed": 0.0,
        "objective": "val_loss",
        "budget": BudgetConfig(),
    }
    return SearchStarted(**{**fields, **changes})


def started(number=3, role="search", seed=0):
    return CandidateStarted(
        number=number,
        candidate_id=f"c{number}",
        role=role,
        seed=seed,
        architecture=architecture("llama", n_layer=4, d_model=96, n_head=6, d_ff=(96, 64, 64, 64)),
        recipe=Recipe(context=64, batch=12, rate=0.01),
        columns={"params": 212_345.0},
        tokens=0,
        goal=400_000,
    )


def ended(number=3, value=1.9, best=1.9, state="complete", role="search", error="", **changes):
    outcome = Outcome(
        candidate_id=f"c{number}", state=state, tokens=1, timings={"run": 4.2}, error=error
    )
    return CandidateEnded(
        number=number,
        role=role,
        outcome=outcome,
        value=value,
        paused_at=changes.get("paused_at"),
        tried=changes.get("tried", 1),
        best=best,
        reference=changes.get("reference"),
        remaining=changes.get("remaining"),
    )


def progress(tokens=200_000, seconds=4.0, number=3, val_loss=None):
    return Progress(
        candidate_id=f"c{number}",
        tokens=tokens,
        train_loss=2.125,
        seconds=seconds,
        val_loss=val_loss,
    )


@pytest.fixture
def told(capsys):
    """Tell events to a plain view; return the lines."""

    def tell(*events, view=None):
        view = view or PlainView(Clock())
        for event in events:
            view(event)
        return capsys.readouterr().out.splitlines()

    return tell


def test_opening_names_workers_budget_and_limits(told):
    (line,) = told(search_started())
    assert line == (
        "2 workers on cpu (bf16, bmm attention, 1 thread each); 400k tokens a candidate; "
        "until 40 candidates or 2 min 0 s"
    )
    (line,) = told(search_started(resumed=7, max_candidates=None, max_seconds=None))
    assert line.endswith("until every shape was tried; goes on from 7 candidates")


def test_new_best_is_marked_once(told):
    lines = told(
        started(1),
        ended(1, 2.0, 2.0),
        started(2),
        ended(2, 2.1, 2.0),
        started(3),
        ended(3, 1.9, 1.9),
    )
    assert [line.endswith("best") for line in lines] == [True, False, True]
    assert " ".join(lines[0].split()) == "#1 4L d96 h6 ff96..64 212k 2.0000 4.2 s best"


def test_failure_is_told_in_words(told):
    (line,) = told(started(), ended(value=None, best=None, state="oom", error="no\nmemory"))
    assert line.endswith("ran out of memory: no memory")


def test_a_paused_candidate_shows_where_it_waits(told):
    lines = told(
        started(), ended(value=None, best=1.8, state="paused", paused_at=2.3, tried=1), started()
    )
    assert lines[0].endswith("2.3000 at 400k tokens, paused")
    assert len(lines) == 1


def test_final_names_its_seed_and_is_no_new_best(told):
    lines = told(
        FinalsStarted(architectures=2, trainings=6, reason="40 candidates"),
        started(3, role="finalist", seed=2),
        ended(3, 1.8, 1.9, role="finalist"),
    )
    assert lines[0].startswith("40 candidates: the search ends; now the finals, 6 trainings")
    assert lines[1].startswith("#3 seed 2 ")
    assert not lines[1].endswith("best")


def test_progress_in_plain_lines_comes_every_fifteen_seconds(told):
    clock = Clock()
    view = PlainView(clock)
    assert len(told(search_started(), started(), view=view)) == 1
    clock.now = 14.0
    assert told(progress(), view=view) == []
    clock.now = 15.5
    (line,) = told(progress(), view=view)
    assert line.split("; ") == ["     0/40 done, 1 min 44 s left", "running #3 50%"]
    assert told(progress(), view=view) == []


def test_footer_has_best_reference_and_time_left(told):
    clock = Clock()
    view = PlainView(clock)
    told(
        search_started(), started(1), ended(1, 1.9, 1.9, reference=2.05, remaining=100.0), view=view
    )
    clock.now = 20.0
    (line,) = told(progress(number=9), view=view)
    assert line.strip() == (
        "1/40 done, best 1.9000 (reference 2.0500), 1 min 20 s left, 180 candidates/h"
    )


def test_note_is_a_line(told):
    assert told(Note(text="time is up")) == ["time is up"]


def board_of(*events):
    board = Board(Clock())
    for event in events:
        board.take(event)
    return board


def test_running_line_has_bar_share_loss_pace_and_eta():
    [one] = board_of(started(), progress()).standing().running
    line = running_line(one, 80)
    assert line.split()[-5:] == ["50%", "2.125", "50k/s", "4.0", "s"]
    assert line.startswith("#3   4L d96 h6 ff96..64")
    wide = running_line(one, 160)
    assert wide.endswith("50%   2.125               50k tokens/s       4.0 s left")
    assert wide.count("━") == wide.count("─") == 15


def test_running_line_has_the_loss_of_its_last_rung_where_there_is_room():
    [one] = board_of(started(), progress(val_loss=2.25)).standing().running
    wide = running_line(one, 160)
    assert wide.endswith("50%   2.125   val 2.250   50k tokens/s       4.0 s left")
    assert "val 2.250" in running_line(one, 100)
    assert running_line(one, 80).split()[-5:] == ["50%", "2.125", "50k/s", "4.0", "s"]


@pytest.mark.parametrize("width", [20, 40, 50, 60, 79, 80, 81, 110, 200])
def test_redrawn_lines_are_shorter_than_any_terminal(width):
    long = started(123456, role="finalist", seed=3)
    standing = board_of(
        search_started(), started(), long, progress(), ended(9, best=1.9, remaining=70.0)
    ).standing()
    lines = frame(standing, width, 24)
    assert len(lines) == 3
    assert all(0 < len(line) < width for line in lines)
    assert lines[0].startswith("#3 ")
    assert lines[1].startswith("#123456 seed 3")


def test_there_are_never_more_lines_than_rows():
    standing = board_of(search_started(), *(started(n) for n in range(30))).standing()
    for rows in range(4, 40):
        lines = frame(standing, 80, rows)
        assert len(lines) <= min(rows - 1, 31)
        shown = sum(line.startswith("#") for line in lines)
        hidden = [line for line in lines if "more" in line]
        assert hidden == ([] if shown == 30 else [f"     and {30 - shown} more"])
        assert lines[-1].startswith("0/40 done")


def test_footer_counts_candidates_an_hour_until_the_finals():
    clock = Clock()
    board = Board(clock)
    for event in (search_started(), started(1), started(2)):
        board.take(event)
    clock.now = 36.0
    board.take(ended(1, best=1.9, tried=1))
    assert footer(board.standing(), 80).endswith("best 1.9000, 1 min 24 s left, 100 candidates/h")
    board.take(ended(2, best=1.9, tried=1, state="interrupted", value=None))
    assert board.standing().per_hour == 100
    board.take(FinalsStarted(architectures=2, trainings=6, reason="40 candidates"))
    assert footer(board.standing(), 80) == "finals 0/6, best 1.9000, 1 min 24 s left"


def test_standing_survives_the_database():
    standing = board_of(search_started(), started(), progress(), started(4)).standing()
    assert from_plain(Standing, json.loads(json.dumps(to_plain(standing)))) == standing


@pytest.mark.parametrize("variable", ["CI"])
def test_lines_are_plain_where_that_is_asked_for(monkeypatch, variable):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(listener_for(quiet=False), LiveView)
    monkeypatch.setenv(variable, "1")
    assert isinstance(listener_for(quiet=False), PlainView)
    assert isinstance(listener_for(quiet=True), Silent)


def test_lines_are_redrawn_without_colour_under_no_color(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    [one] = board_of(started(), progress()).standing().running
    assert "\x1b[36m" in running_line(one, 80)
    monkeypatch.setenv("NO_COLOR", "1")
    assert isinstance(listener_for(quiet=False), LiveView)
    assert "\x1b" not in running_line(one, 80)


def test_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(listener_for(quiet=False), PlainView)


def test_opening_line_names_the_budget_in_its_unit():
    assert "; 400k tokens a candidate;" in opening_line(search_started())
    flops = search_started(budget=BudgetConfig(amount=2e12, unit="flops"))
    assert "; 2e+12 FLOPs (400k tokens of the reference) a candidate;" in opening_line(flops)
    seconds = search_started(budget=BudgetConfig(amount=20.0, unit="seconds"))
    assert "; 20 s (400k tokens of the reference) a candidate;" in opening_line(seconds)
