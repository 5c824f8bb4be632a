"""Trainings beside a search: to more tokens, and of shapes of the user's own."""

import shutil
import signal
import sqlite3
from contextlib import closing

import pytest
from interrupting import at_first_progress

import nas
from nas.driver.events import CandidateEnded, CandidateStarted, Note
from nas.driver.extend import extend
from nas.driver.own import train_own
from nas.driver.retrain import retrain
from nas.errors import InputError
from nas.store.store import Store
from nas.study import studies_folder

SETTINGS = {"finalists": {"top": 1, "seeds": 2}, "stop": {"candidates": 2}, "keep": 1}
OWN = {"n_layer": 1, "d_model": 32, "n_head": 2, "d_ff": 48}
OUTSIDE = {"n_layer": 3, "d_model": 20, "n_head": 1, "d_ff": 40}


@pytest.fixture(scope="module")
def made():
    return []


@pytest.fixture
def study(configure, made, tmp_path_factory):
    """A finished study, searched once and copied; its data stays where it was."""
    if not made:
        found = nas.search(configure(**SETTINGS))
        made.append(shutil.copytree(found.folder, tmp_path_factory.mktemp("made") / "tiny"))
    if not (studies_folder() / "tiny").exists():
        shutil.copytree(made[0], studies_folder() / "tiny")
    return nas.open_study("tiny")


def winner_of(study):
    """The winner's seed that kept its checkpoint from before the cooldown."""
    winner = study.summary()["winner"]
    [row] = [r for r in study.trials() if r.architecture_id == winner and r.checkpoint]
    return row


def losses(study, row):
    return [one.metrics for one in study.evaluations(row.candidate_id)]


def tokens_trained(study, row):
    """Return what the evaluations of a candidate say was trained for it."""
    query = "SELECT sum(tokens) FROM nas_evaluation WHERE candidate_id = ?"
    with closing(sqlite3.connect(study.folder / "study.db")) as database:
        return database.execute(query, (row.candidate_id,)).fetchone()[0]


def checkpoints(study):
    return {f"checkpoints/{path.name}" for path in (study.folder / "checkpoints").iterdir()}


def notes_of(train, *arguments):
    notes = []
    train(*arguments, lambda event: notes.append(event.text) if type(event) is Note else None)
    return notes


def test_extended_is_as_trained_in_one_go(study):
    row = winner_of(study)
    extended = extend(study, row.candidate_id, 8_200)
    assert (extended.role, extended.tokens, extended.number) == ("extended", 8_192, row.number)
    assert extended.candidate_id != row.candidate_id
    assert extended.model_path is not None
    found = losses(study, extended)
    assert tokens_trained(study, extended) == 8_192 - row.checkpoint.tokens
    shutil.rmtree(study.folder)
    again = study_copy(study)
    (again.folder / winner_of(again).checkpoint.uri).unlink()
    [note] = notes_of(extend, again, row.candidate_id, 8_200)
    assert "from before its cooldown: from the beginning" in note
    assert losses(again, extended) == found
    assert tokens_trained(again, extended) == 8_192
    assert nas.load("tiny", candidate=extended.candidate_id, verify=True).metrics["val"]


def study_copy(study):
    shutil.copytree(study_copy.made[0], study.folder)
    return nas.open_study("tiny")


@pytest.fixture(autouse=True)
def _remember(made):
    study_copy.made = made


def test_extended_goes_on_from_before_the_cooldown_and_further(study):
    row = winner_of(study)
    assert row.checkpoint.tokens == 2_560  # the first step after 60 % of 4,096
    [note] = notes_of(extend, study, row.candidate_id, 8_192)
    assert note == f"goes on from {row.candidate_id} at 2560 tokens, before its cooldown"
    [extended] = study.trials(role="extended")
    assert extended.checkpoint.tokens == 4_992
    further = extend(study, extended.candidate_id, 10_000)
    assert further.tokens == 9_984
    [note] = notes_of(extend, study, row.candidate_id, 8_192)
    assert note == f"{extended.candidate_id} was trained to 8192 tokens already"


def test_no_search_ranks_or_drops_what_was_trained_beside_it(configure, study):
    before = study.summary(), study.best().candidate_id, [len(g.rows) for g in study.finalists()]
    extended = extend(study, winner_of(study).candidate_id, 20_000)
    own = train_own(study, OWN).group.rows
    assert extended.metrics["val_loss"] < study.best().metrics["val_loss"]
    after = study.summary(), study.best().candidate_id, [len(g.rows) for g in study.finalists()]
    assert after == before
    assert study.trials()[-1].candidate_id == extended.candidate_id
    assert extended.candidate_id not in {row.candidate_id for row in study.pareto()}
    more = nas.search(configure(**SETTINGS | {"stop": {"candidates": 3}}))
    kept = {row.candidate_id for row in more.trials() if row.model_path}
    assert {extended.candidate_id, *(row.candidate_id for row in own if row.model_path)} <= kept
    assert extended.checkpoint.uri in checkpoints(more)
    assert len(more.trials(role="search")) == 3


def test_own_shape_is_trained_as_finalists_are(study):
    result = train_own(study, OUTSIDE)
    rows = result.group.rows
    assert [(row.role, row.seed, row.tokens, row.number) for row in rows] == [
        ("own", seed, 4_096, -1) for seed in (1, 2)
    ]
    assert all("test_loss" in row.metrics for row in rows)
    kept = [row for row in rows if row.model_path]
    assert kept == [min(rows, key=lambda row: row.metrics["val_loss"])]
    assert set(result.rivals) <= {"winner", "reference"}
    for name, rival in result.rivals.items():
        for metric in ("val_loss", "test_loss"):
            found = result.comparisons[name][metric]
            assert found.difference == pytest.approx(result.group.mean(metric) - rival.mean(metric))
            assert found.interval is not None
    again = notes_of(train_own, study, OUTSIDE)
    assert again == []
    assert len(study.trials(role="own")) == 2


def test_a_finalists_shape_is_not_trained_twice(study):
    group = study.finalists()[0]
    shape = dict(group.rows[0].shape)
    notes = notes_of(train_own, study, shape)
    assert notes == ["the finals have trained this shape from these seeds already"]
    assert study.trials(role="own") == []


def test_own_shape_that_comes_to_the_finals_takes_part(configure, study):
    train_own(study, OWN)
    study.enqueue(OWN)
    many = SETTINGS | {"finalists": {"top": 9, "seeds": 2}}
    more = nas.search(configure(**many))
    [group] = [g for g in more.finalists() if dict(g.rows[0].shape) == OWN]
    assert {row.role for row in group.rows} == {"finalist"}
    assert [row.number for row in group.rows] == [2, 2]


@pytest.mark.slow
def test_interrupted_and_called_again_equals_uninterrupted(study):
    row = winner_of(study)

    with pytest.raises(KeyboardInterrupt):
        extend(study, row.candidate_id, 150_016, at_first_progress())
    [left] = study.trials("state == 'interrupted'")
    assert left.checkpoint is not None
    resumed = losses(study, extend(study, row.candidate_id, 150_016))
    assert len(checkpoints(study)) == len([r for r in study.trials() if r.checkpoint])
    shutil.rmtree(study.folder)
    study_copy(study)
    assert losses(study, extend(study, row.candidate_id, 150_016)) == resumed


def test_trained_again_keeps_its_checkpoint_too(study):
    row = next(
        r for r in study.trials() if r.role in ("finalist", "reference") and not r.model_path
    )
    again = retrain(study, row.candidate_id)
    assert again.checkpoint is not None
    assert again.checkpoint.uri in checkpoints(study)


@pytest.mark.parametrize("tokens", [1, 4_096, 4_100])
def test_no_more_tokens_than_before_are_refused(study, tokens):
    row = winner_of(study)
    with pytest.raises(InputError, match=f"--tokens: got {tokens}, .* to 4096 already; give 4224"):
        extend(study, row.candidate_id, tokens)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"n_layer": 1}, "study 'tiny': family 'llama': .*missing"),
        (OWN | {"d_ff": [1, 2, 3]}, "d_ff"),
        (nas.architecture("gpt2", **OWN), "family: got 'gpt2', the study's is 'llama'"),
    ],
    ids=["missing", "layers", "family"],
)
def test_no_shape_of_the_family_is_refused(study, shape, message):
    with pytest.raises(InputError, match=message):
        train_own(study, shape)
    assert study.trials(role="own") == []


@pytest.mark.slow
def test_a_study_on_a_server_is_taken_again_when_that_was_restarted(
    configure, postgres, postgres_url, monkeypatch
):
    url = postgres_url.replace("+psycopg", "")
    monkeypatch.setenv("NAS_DATABASE", url)
    study = nas.search(configure(stop={"candidates": 1}, finalists={"top": 0, "seeds": 2}))
    seen = []

    def disturb(event):
        seen.append(type(event))
        if seen[-1] is CandidateEnded and seen.count(CandidateEnded) == 1:
            postgres.stop(signal.SIGINT)
            postgres.start()
        if seen[-1] is CandidateStarted and seen.count(CandidateStarted) == 2:
            with Store.open(url) as other, pytest.raises(InputError, match="at work on it"):
                other.claim("tiny", study.folder)

    train_own(study, OWN, disturb)
    assert seen.count(CandidateStarted) == 2
