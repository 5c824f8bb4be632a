"""What a user can get wrong: one line on standard error, exit status 2, nothing lost or made."""

import pytest

import nas as package
from nas.cli import main
from nas.errors import NasError

SEARCH = ("search", "tiny.yaml")


def refused(found, *words):
    """Check that a command was refused in one line."""
    assert found.code == 2
    assert len(found.err.splitlines()) == 1, found.err
    assert found.err.startswith("nas: ")
    for word in words:
        assert word in found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SEARCH, "--set", "stop.minuts=3"), ["stop.minuts", "did you mean 'minutes'?"]),
        ((*SEARCH, "--set", "stop.minutes"), ["expected KEY=VALUE"]),
        ((*SEARCH, "--set", "recipe.rate=1e-7"), ["recipe.rate"]),
        ((*SEARCH, "--set", "keep=no"), ["keep"]),
        ((*SEARCH, "--candidates", "0"), ["stop.candidates", "0"]),
        ((*SEARCH, "--minutes", "-1"), ["stop.minutes"]),
        ((*SEARCH, "--task", "translating"), ["task.name", "language_modeling"]),
        ((*SEARCH, "--space", "lama_tiny"), ["space", "did you mean 'llama_tiny'?"]),
        ((*SEARCH, "--strategy", "tpee"), ["strategy", "did you mean 'tpe'?"]),
        ((*SEARCH, "--device", "tpu"), ["device", "tpu"]),
        ((*SEARCH, "--executor", "process"), ["executor", "processes"]),
        ((*SEARCH, "--name", "../up"), ["study name '../up'"]),
        ((*SEARCH, "--data", "nothere.txt"), ["nothere.txt"]),
        ((*SEARCH, "--data", "empty.txt"), ["empty.txt: empty"]),
        ((*SEARCH, "--data", "short.txt"), ["short.txt"]),
        ((*SEARCH, "--data", "builtin:python-doc"), ["did you mean 'python-docs'?"]),
        (("search", "nope"), ["no study file 'nope'"]),
        (("search", "nope.yaml"), ["nope.yaml: cannot be read"]),
        (("search", "doubled.yaml"), ["doubled.yaml", "keep"]),
        (("search", "sqlite:///x.db"), ["database URL"]),
        (("search", "--candidates", "many"), ["--candidates", "nas search --help"]),
        (("trials",), ["no study in studies", "nas search"]),
        (("trials", "quickstart"), ["no study 'quickstart'"]),
        (("best",), ["no study in studies"]),
        (("show",), ["no study in studies"]),
        (("generate",), ["no study in studies"]),
        (("generate", "x", "--device", "tpu"), ["unknown device 'tpu'"]),
        (("rm", "nope"), ["no study 'nope'"]),
        (("rm", "."), ["no study.db"]),
        (("rm", "sqlite:///x.db"), ["database URL"]),
        (("spaces", "nope"), ["no search space 'nope'"]),
        (("trial",), ["trial", "nas --help"]),
        (("trials", "--form", "xml"), ["--form"]),
        (("train", "tiny"), ["--candidate", "nas train --help"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistake_before_there_is_a_study_gets_one_line(nas, empty_place, arguments, words):
    (empty_place / "empty.txt").write_text("")
    (empty_place / "short.txt").write_text("ab")
    (empty_place / "doubled.yaml").write_text("keep: 1\nkeep: 2\n")
    refused(nas(*arguments), *words)
    assert not list(empty_place.glob("studies/*/study.db"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "tiny.yaml", "--set", "recipe.batch=4"), ["recipe.batch", "--fresh"]),
        (("search", "tiny.yaml", "--space", "llama_tiny"), ["space.", "--name"]),
        (("trials", "--where", "loss < 2"), ["unknown column 'loss'"]),
        (("trials", "--where", "1); DROP TABLE nas_study; --"), ["where: "]),
        (("trials", "--where", "__import__('os').system('ls')"), ["where: "]),
        (("trials", "--sort", "vall_loss"), ["did you mean 'val_loss'?"]),
        (("trials", "--columns", "number,vall_loss"), ["did you mean 'val_loss'?"]),
        (("trials", "--role", "finalists"), ["did you mean 'finalist'?"]),
        (("trials", "--state", "fialed"), ["did you mean 'failed'?"]),
        (("trials", "--limit", "-1"), ["--limit"]),
        (("trials", "tinny"), ["did you mean 'tiny'?"]),
        (("best", "--max-params", "1"), ["has params <= 1"]),
        (("show", "tiny", "99"), ["no candidate '99'"]),
        (("show", "tiny", "zzz"), ["no candidate 'zzz'"]),
        (("generate", "--top-p", "2"), ["top_p"]),
        (("generate", "--candidate", "99"), ["no candidate '99'"]),
        (("train", "tiny", "--candidate", "99"), ["no candidate '99'"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistake_about_a_study_gets_one_line(nas, place, arguments, words):
    refused(nas(*arguments), *words)


def test_weights_that_were_not_kept_name_the_way_to_train_again(nas, place):
    rows = package.open_study("tiny").trials(role="search")
    row = next(row for row in rows if row.model_path is None)
    found = nas("generate", "tiny", "--candidate", row.candidate_id)
    refused(found, f"nas train tiny --candidate {row.candidate_id}")


def test_altered_model_folder_is_refused(nas, own_place):
    study = package.open_study("tiny")
    weights = study.folder / study.best().model_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(nas("generate", "tiny"), "model.safetensors")


def test_study_of_another_place_is_not_gone_on_with(nas, own_place, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "elsewhere"))
    refused(nas("search", "studies/tiny"), "NAS_STUDIES=")


def test_study_that_was_moved_aside_is_not_gone_on_with(nas, own_place):
    (own_place / "studies/tiny").rename(own_place / "studies/tiny.1")
    refused(nas("search", "studies/tiny.1"), "moved aside", "rename")


def test_studies_folder_that_is_a_file_is_refused(nas, empty_place, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(empty_place / "notes.txt"))
    refused(nas(*SEARCH), "NAS_STUDIES")


def test_debug_shows_the_traceback(place, monkeypatch):
    monkeypatch.setenv("NAS_DEBUG", "1")
    with pytest.raises(NasError, match="no study 'nope'"):
        main(["trials", "nope"])
