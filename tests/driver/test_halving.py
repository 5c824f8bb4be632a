"""Pauses and promotions in a real search."""

import shutil

import optuna
import pytest
import sqlalchemy as sa

import nas
from nas.driver.events import CandidateEnded, CandidateStarted, Note
from nas.strategies import halving
from nas.study import open_study, studies_folder

PAUSING = {
    "per_candidate": {"tokens": 4096, "rungs": [512, 1024, 4096], "eta": 2},
    "stop": {"candidates": 8},
    "finalists": {"top": 2, "seeds": 1},
}


@pytest.fixture(autouse=True)
def early_pauses(monkeypatch):
    """Pauses begin after two candidates, so that small searches have some."""
    monkeypatch.setattr(halving, "FIRST_FULL", 2)


@pytest.fixture(scope="module")
def made():
    return []


@pytest.fixture
def paused(configure, made, tmp_path_factory):
    """A search with pauses, done once: its study, as a copy of the test's own, and what it told."""
    if not made:
        told = []
        found = nas.search(configure(**PAUSING), listener=told.append)
        made[:] = shutil.copytree(found.folder, tmp_path_factory.mktemp("made") / "tiny"), told
        shutil.rmtree(found.folder)
    folder, told = made
    return open_study(shutil.copytree(folder, studies_folder() / "tiny")), told


def losses(study):
    """Each candidate's losses at its rungs, to the last bit."""
    rows = study.trials(all_rungs=True, role=None)
    return {(row.candidate_id, row.rung): row.metrics["val_loss"] for row in rows}


def test_a_pausing_search_trains_nothing_twice(paused):
    study, _ = paused
    rows = study.trials(role="search")
    states = [row.state for row in rows]
    assert set(states) == {"complete", "paused"}
    assert states.count("complete") >= 3
    assert {row.tokens for row in rows if row.state == "paused"} == {1024}
    with sa.create_engine(study.url).connect() as connection:
        (trained,) = connection.execute(sa.text("SELECT SUM(tokens) FROM nas_evaluation")).one()
    assert trained == sum(row.tokens for row in study.trials(role=None))


def test_a_promoted_candidate_is_the_same_as_one_without_a_pause(configure, paused):
    found = losses(paused[0])
    through = {**PAUSING, "per_candidate": {**PAUSING["per_candidate"], "eta": 1}}
    whole = losses(nas.search(configure("whole", **through)))
    both = set(found) & set(whole)
    assert sum(rung == 2 for _, rung in both) >= 4
    assert {key: found[key] for key in both} == {key: whole[key] for key in both}


def test_promotions_go_on_from_their_checkpoint(paused):
    _, started = paused
    jobs = [e for e in started if isinstance(e, CandidateStarted) and e.role == "search"]
    promoted = [e for e in jobs if e.tokens]
    assert {(e.tokens, e.goal) for e in promoted} == {(1024, 4096)}
    waiting = [e for e in started if isinstance(e, CandidateEnded) and e.paused_at is not None]
    assert all(e.value is None for e in waiting)
    assert len(jobs) == 8 + len(promoted)


def test_checkpoints_that_cannot_be_promoted_are_deleted_and_pruned_for_optuna(paused):
    study, _ = paused
    waiting = [row for row in study.trials(role="search") if row.state == "paused"]
    ended = [row for row in study.trials() if row.state == "complete"]  # before the cooldown
    kept = {row.checkpoint.uri for row in (*waiting, *ended) if row.checkpoint}
    assert {f"checkpoints/{p.name}" for p in (study.folder / "checkpoints").iterdir()} == kept
    given_up = {row.candidate_id for row in waiting if row.checkpoint is None}
    assert given_up
    trials = study.optuna_study().trials
    pruned = [t for t in trials if t.state == optuna.trial.TrialState.PRUNED]
    assert {t.user_attrs["candidate_id"] for t in pruned} == given_up


def test_a_raised_limit_goes_on_with_who_was_paused(configure, paused):
    first, _ = paused
    before = {row.candidate_id for row in first.trials(role="search") if row.state == "complete"}
    more = {**PAUSING, "stop": {"candidates": 12}}
    study = nas.search(configure(**more))
    rows = {row.candidate_id: row for row in study.trials(role="search")}
    assert len(rows) == 12
    assert before <= {key for key, row in rows.items() if row.state == "complete"}


def test_the_result_says_what_the_rungs_were_worth(paused):
    summary = paused[0].summary()
    assert [one["tokens"] for one in summary["fidelity"]] == [512, 1024]
    assert all(-1 <= one["tau"] <= 1 for one in summary["fidelity"])


def test_a_rung_that_tells_nothing_is_given_up_and_this_is_said(configure, monkeypatch):
    """Losses at the rung are shuffled: their ranking has nothing to do with the end's."""
    from nas.training.loop import Training

    measure = Training._measure

    def shuffled(self, rung):
        found = measure(self, rung)
        if rung == len(self.job.rungs) - 1:
            return found
        value = int(self.job.candidate.architecture.id, 16) % 1000 / 100
        object.__setattr__(found, "metrics", {"val": {"loss": value}})
        return found

    monkeypatch.setattr(Training, "_measure", shuffled)
    told = []
    changes = {**PAUSING, "stop": {"candidates": 20}}
    study = nas.search(configure(**changes), listener=told.append)
    (note,) = [e.text for e in told if isinstance(e, Note)]
    assert "does not rank as the end does" in note
    assert not any(row.checkpoint for row in study.trials(role="search"))  # nobody waits
    assert open_study(study.folder).summary()["fidelity"][1]["tau"] < 0.4


def test_a_rung_that_was_given_up_and_turns_out_to_tell_is_paused_at_again(configure, monkeypatch):
    """Lower rungs rank the first candidates the other way round, all others as the end does."""
    from nas.training.loop import Training

    measure, told = Training._measure, []
    monkeypatch.setattr(halving, "LEAST_PAIRS", 4)

    def ranked(self, rung):
        found = measure(self, rung)
        order = int(self.job.candidate.architecture.id, 16)
        lost = rung < len(self.job.rungs) - 1 and sum(type(e) is CandidateEnded for e in told) < 6
        object.__setattr__(found, "metrics", {"val": {"loss": (-order if lost else order) % 97}})
        return found

    monkeypatch.setattr(Training, "_measure", ranked)
    nas.search(configure(**{**PAUSING, "stop": {"candidates": 24}}), listener=told.append)
    notes = [e.text for e in told if isinstance(e, Note) and "as the end does" in e.text]
    assert "does not rank" in notes[0]
    assert "may rank as the end does after all" in notes[-1]
    assert "first paused at" in notes[-1]
