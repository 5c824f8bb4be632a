"""Budgets in FLOPs and seconds: a shape's tokens follow its cost."""

import itertools
import json
import re
import signal
import subprocess
import sys

import pytest

import nas
from nas.driver import beginning
from nas.driver.budgets import rungs_of
from nas.driver.events import Note
from nas.driver.extend import extend
from nas.driver.own import train_own
from nas.driver.pace import FIXED_FLOPS
from nas.driver.retrain import retrain
from nas.errors import ConfigError, InputError, NotFoundError

STEP = 128  # tokens, of the recipe in conftest
SMALL = {"finalists": {"top": 1, "seeds": 1}, "stop": {"candidates": 3}}
FLOPS = {"flops": 4e8, "rungs": [5e7, 1e8, 4e8], "eta": 2}
SECONDS = {"seconds": 0.2, "eta": 1}
TIMED = (4096, 0.1)  # tokens and seconds of a machine that is always as fast


@pytest.fixture
def steady(monkeypatch):
    """A machine that is always as fast, and a list of what was timed."""
    asked = []

    def timed(_executor, job):
        asked.append(job)
        return TIMED

    monkeypatch.setattr(beginning, "timed", timed)
    return asked


def flops_of(row):
    return row.columns["train_flops_per_token"]


def losses(study):
    rows = study.trials(all_rungs=True, role=None)
    return {(row.candidate_id, row.rung): row.metrics["val_loss"] for row in rows}


def test_flops_are_more_tokens_of_a_cheaper_shape(configure):
    study = nas.search(configure(per_candidate=FLOPS, **{**SMALL, "stop": {"candidates": 6}}))
    done = {r.candidate_id: r for r in study.trials() if r.state == "complete"}
    assert len({row.tokens for row in done.values()}) >= 2
    for row in done.values():
        step = STEP * flops_of(row)
        assert 0 <= FLOPS["flops"] - row.tokens * flops_of(row) < step
        tokens = [one.evaluation.tokens for one in study.evaluations(row.candidate_id)]
        assert len(tokens) == 3
        assert all(count % STEP == 0 for count in tokens)
        for asked, count in zip(FLOPS["rungs"], tokens, strict=True):
            assert 0 <= asked - count * flops_of(row) < step
    ordered = sorted(done.values(), key=flops_of)
    assert all(a.tokens >= b.tokens for a, b in itertools.pairwise(ordered))
    assert study.summary()["fidelity"][0]["amount"] == FLOPS["rungs"][0]


def test_warm_up_is_a_share_of_the_references_tokens(configure):
    study = nas.search(configure(per_candidate=FLOPS, **SMALL))
    [reference] = [r for r in study.trials(role="search") if r.number == 0]
    assert study.record.rungs[-1] == reference.tokens
    assert {r.recipe.warmup_tokens for r in study.trials(role=None)} == {reference.tokens // 50}


def test_flops_below_a_step_a_rung_are_refused_before_a_study_is_made(configure):
    rows = nas.search(configure(per_candidate=FLOPS, **SMALL)).trials(role="search")
    flops = next(1.5 * STEP * flops_of(row) for row in rows if row.number == 0)
    config = configure(per_candidate={"flops": flops}, name="few")
    with pytest.raises(ConfigError, match=r"per_candidate\.flops: .* less than 2 steps") as told:
        nas.search(config)
    with pytest.raises(NotFoundError):
        nas.open_study("few")
    enough = float(re.search(r"give (\S+) or more", str(told.value)).group(1))
    nas.search(configure(per_candidate={"flops": enough}, name="few", **SMALL))


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_seconds_are_tokens_by_the_pace_that_was_measured(configure, monkeypatch, executor):
    monkeypatch.setattr(beginning, "PROBE_SECONDS", 0.1)
    notes = []
    config = configure(per_candidate=SECONDS, executor=executor, workers=1, **SMALL)
    study = nas.search(config, listener=notes.append)
    pace = study.record.pace
    assert any("0.2 s are" in event.text for event in notes if isinstance(event, Note))
    for row in study.trials():
        takes = row.tokens * (flops_of(row) + FIXED_FLOPS) / pace
        assert row.state == "complete"
        assert row.tokens % STEP == 0
        assert 0.2 - STEP * (flops_of(row) + FIXED_FLOPS) / pace < takes <= 0.2


def test_a_search_that_goes_on_uses_the_stored_pace(configure, steady, monkeypatch):
    whole = losses(nas.search(configure("whole", per_candidate=SECONDS, **SMALL)))
    less = {**SMALL, "stop": {"candidates": 1}}
    nas.search(configure(per_candidate=SECONDS, **less))
    assert len(steady) == 2
    monkeypatch.setattr(beginning, "timed", lambda *_: (1, 1.0))  # another machine
    found = nas.search(configure(per_candidate=SECONDS, **SMALL))
    assert whole.items() <= losses(found).items()
    assert nas.open_study("tiny").record.pace == nas.open_study("whole").record.pace


SCRIPT = """
import json, sys
import nas
from nas.config import config_from_plain
from nas.driver import beginning
beginning.timed = lambda *_: tuple(json.loads(sys.argv[2]))
plain = json.loads(sys.argv[1])
def show(event):
    print(type(event).__name__, flush=True)
    if type(event).__name__ == "Progress":
        sys.stdin.readline()  # do not run away from the signal
nas.search(config_from_plain(plain, where="test", name="tiny"), listener=show)
"""


@pytest.mark.slow
def test_interrupted_and_resumed_in_seconds_equals_uninterrupted(configure, steady, monkeypatch):
    changes = {
        "per_candidate": {"seconds": 3, "eta": 1},
        "finalists": {"top": 0},
        "stop": {"candidates": 1},
    }
    whole = losses(nas.search(configure("whole", **changes)))
    plain = configure(**changes).to_plain()
    del plain["latency"], plain["workers"]
    run = [sys.executable, "-c", SCRIPT, json.dumps(plain), json.dumps(TIMED)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(run, **pipes, text=True) as first:
        for line in first.stdout:
            if line.startswith("Progress"):
                first.send_signal(signal.SIGINT)
                break
        _, errors = first.communicate("\n", timeout=60)
    assert "SearchInterrupted" in errors
    monkeypatch.setattr(beginning, "timed", lambda *_: (1, 1.0))
    assert losses(nas.search(configure(**changes))) == whole


@pytest.mark.usefixtures("steady")
def test_what_is_trained_beside_a_search_has_its_budget(configure):
    study = nas.search(configure(per_candidate=SECONDS, keep=1, **SMALL))
    row = next(r for r in study.trials(role="search") if r.model_path is None)
    notes = []
    again = retrain(study, row.candidate_id, notes.append)
    assert again.model_path is not None
    assert not [event.text for event in notes if isinstance(event, Note)]  # no difference
    with pytest.raises(InputError, match=f"was trained to {row.tokens} already"):
        extend(study, row.candidate_id, row.tokens)
    assert extend(study, row.candidate_id, row.tokens + STEP).tokens == row.tokens + STEP
    own = train_own(study, {"n_layer": 2, "d_model": 16, "n_head": 1, "d_ff": 40})
    [mine] = own.group.rows
    assert mine.tokens == rungs_of(study.record, mine.recipe, mine.columns)[-1]
    takes = mine.tokens * (flops_of(mine) + FIXED_FLOPS) / study.record.pace
    assert takes == pytest.approx(0.2, rel=0.05)


def test_no_tokens_are_guessed_before_the_pace_is_known(configure, steady, monkeypatch):
    def broken(*_):
        raise nas.NasError("no machine")

    monkeypatch.setattr(beginning, "timed", broken)
    with pytest.raises(nas.NasError, match="no machine"):
        nas.search(configure(per_candidate=SECONDS, **SMALL))
    study = nas.open_study("tiny")
    assert study.record.pace is None
    with pytest.raises(InputError, match="nothing was trained in it yet"):
        train_own(study, {"n_layer": 1, "d_model": 32, "n_head": 2, "d_ff": 48})
    monkeypatch.setattr(beginning, "timed", lambda *_: TIMED)
    assert nas.search(configure(per_candidate=SECONDS, **SMALL)).record.pace is not None
