"""A study that begins with what another one measured."""

import shutil

import pytest

import nas
from nas.driver.events import Note
from nas.errors import InputError
from nas.study import list_studies, studies_folder

FEW = {"finalists": {"top": 0}, "stop": {"candidates": 3}}


def order(study):
    rows = sorted(study.trials(role="search"), key=lambda row: row.number)
    return [row.architecture_id for row in rows]


@pytest.fixture(scope="module")
def made():
    return []


@pytest.fixture
def old(configure, made, tmp_path_factory):
    """A study of six candidates, searched once and copied."""
    if not made:
        study = nas.search(configure("old", finalists={"top": 0}, seed=3, stop={"candidates": 6}))
        made.append(shutil.copytree(study.folder, tmp_path_factory.mktemp("made") / "old"))
    folder = studies_folder() / "old"
    if not folder.exists():
        shutil.copytree(made[0], folder)
    return nas.open_study("old")


def test_best_of_the_other_study_follows_the_reference(configure, old):
    notes = []
    config = configure("new", warm_start="old", **FEW)
    study = nas.search(config, listener=lambda e: notes.append(e) if type(e) is Note else None)
    best = old.trials(role="search")[0].architecture_id
    found = order(study)
    assert found[1] == best or found[0] == best
    assert notes == [Note(text="starts warm: 6 results of study 'old'")]
    assert study.config["warm_start"] == "old"
    assert len(study.trials()) == 3  # evidence is no candidate


def test_a_resumed_study_proposes_the_same_without_the_other_one(configure, old):
    more = {"finalists": {"top": 0}, "strategy": "auto", "warm_start": str(old.folder)}
    whole = nas.search(configure("whole", stop={"candidates": 5}, **more))
    nas.search(configure("stepwise", stop={"candidates": 2}, **more))
    old.folder.rename(old.folder.with_name("gone"))
    stepwise = nas.search(configure("stepwise", stop={"candidates": 5}, **more))
    assert order(stepwise) == order(whole)


def test_a_study_that_exists_is_not_warmed_later(configure, old):
    nas.search(configure("new", **FEW))
    with pytest.raises(InputError, match="warm_start: nothing in the study, old asked for"):
        nas.search(configure("new", warm_start="old", **FEW))


OTHER = {
    "format_version": 1,
    "family": "llama",
    "dimensions": {"n_layer": {"min": 1, "max": 2}},
    "fixed": {"d_model": 20, "n_head": 1, "d_ff": 32},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": "odl"}, "no study 'odl' .*did you mean 'old'"),
        (
            {"space": OTHER | {"family": "gpt2"}},
            "study 'old' is of family 'llama' and the new one of 'gpt2'",
        ),
        ({"objectives": ["val_bits_per_byte"]}, "ranks by val_loss and the new one by val_bits"),
        (
            {"space": OTHER},
            r"none of its 6 shapes is feasible in the new space; of the best one d_model: \d+ is",
        ),
    ],
    ids=["name", "family", "objective", "space"],
)
def test_a_study_that_does_not_fit_is_refused_and_nothing_is_made(configure, old, changes, message):
    config = configure("new", **{"warm_start": "old", **FEW, **changes})
    with pytest.raises(InputError, match=message) as error:
        nas.search(config)
    assert "\n" not in str(error.value)
    assert list_studies() == ["old"]


def test_python_takes_a_study_a_name_or_a_folder(configure, old, tmp_path):
    file = tmp_path / "new.yaml"
    file.write_text(
        f"format_version: 1\nspace: {configure().space.to_plain()}\n"
        f"task: {{name: language_modeling, data: {tmp_path / 'words.txt'}}}\n"
        "recipe: {context: 16, batch: 8}\nper_candidate: {tokens: 1024}\n"
        "finalists: {top: 0}\nstop: {candidates: 2}\nexecutor: inline\ndevice: cpu\n"
    )
    for start in (old, "old", old.folder):
        study = nas.search(file, warm_start=start, fresh=True)
        assert study.record.identity["warm_start"] == "old"
    assert nas.search(file, warm_start="old").summary() == study.summary()
    with pytest.raises(InputError, match="warm_start are for study files"):
        nas.search(configure(), warm_start="old")
