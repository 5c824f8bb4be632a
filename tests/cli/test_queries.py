"""Questions about a study that is there: trials, best, show, generate, train, rm."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas as package
from nas.driver.claim import claim
from nas.records import Outcome
from nas.store.store import Store

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def not_kept(own_place):
    """A complete candidate whose weights were not kept."""
    rows = package.open_study("tiny").trials("state == 'complete'", role="search")
    return next(row for row in rows if row.model_path is None)


@pytest.fixture
def failed(own_place):
    """A candidate of the study that failed with a traceback."""
    study = package.open_study("tiny")
    architecture = package.architecture(
        "llama", n_layer=2, d_model=24, n_head=2, head_dim=8, d_ff=16
    )
    old = study.trials()[0]
    candidate = type(old.candidate)(
        architecture=architecture, recipe=old.recipe, seed=99, data_fingerprint="abc"
    )
    with Store.open(study.url) as store:
        store.add_candidate(
            study.record, candidate, number=50, role="search", columns={}, parameters={}
        )
        outcome = Outcome(
            candidate_id=candidate.id,
            state="failed",
            tokens=0,
            error="ValueError: too wide",
            traceback="Traceback:\n  line 1\nValueError: too wide\n",
        )
        store.record_outcome(study.record, outcome)
    return candidate.id


def test_trials_come_as_a_table_that_fits(nas, place):
    found = nas("trials")
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0].startswith("study tiny, the newest in studies: ")
    assert lines[1].split()[:2] == ["#", "val_loss"]
    assert max(map(len, lines)) <= 80


def test_trials_show_the_objective_on_test(nas, place, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path))
    by_bits = (place / "tiny.yaml").read_text() + "objectives: [val_bits_per_byte]\n"
    (tmp_path / "bits.yaml").write_text(by_bits)
    assert nas("search", str(tmp_path / "bits.yaml"), "--quiet").code == 0
    header = nas("trials", "bits").out.splitlines()[1].split()
    assert header[:4] == ["#", "val_bits_per_byte", "role", "test_bits_per_byte"]


def test_trials_in_a_wide_terminal_have_more_columns(nas, place, monkeypatch):
    narrow = nas("trials").out.splitlines()[1].split()
    monkeypatch.setenv("COLUMNS", "160")
    wide = nas("trials").out.splitlines()[1].split()
    assert wide[: len(narrow)] == narrow
    assert {"tokens", "seed"} <= set(wide) - set(narrow)


def test_trials_as_json_are_exact(nas, place):
    found = json.loads(nas("trials", "tiny", "--format", "json", "--role", "search").out)
    rows = package.open_study("tiny").trials(role="search")
    assert [one["val_loss"] for one in found] == [row.metrics["val_loss"] for row in rows]
    assert found[0]["created_at"] == rows[0].created_at.isoformat()
    assert found[0]["n_layer"] == rows[0].shape["n_layer"]


def test_trials_as_csv_are_exact(nas, place):
    found = nas("trials", "--format", "csv", "--columns", "candidate_id,val_loss,shape")
    rows = list(csv.DictReader(io.StringIO(found.out)))
    stored = {
        row.candidate_id: row.metrics["val_loss"] for row in package.open_study("tiny").trials()
    }
    assert {row["candidate_id"]: float(row["val_loss"]) for row in rows} == stored
    assert rows[0]["shape"].split()[0] in ("1L", "2L")


def test_trials_are_filtered_sorted_and_limited(nas, place):
    found = nas("trials", "--where", "params < 1e9", "--sort", "-params", "--limit", "2",
                "--state", "complete", "--format", "json", "--columns", "params")  # fmt: skip
    params = [one["params"] for one in json.loads(found.out)]
    assert len(params) == 2
    assert params == sorted(params, reverse=True)


def test_trials_of_all_rungs_have_a_row_each(nas, place):
    found = json.loads(nas("trials", "--all", "--role", "search", "--format", "json").out)
    assert sorted({one["rung"] for one in found}) == [0, 1]
    assert len(found) == 6


def test_trials_without_a_match_say_so(nas, place):
    assert nas("trials", "--where", "val_loss < 0").out.endswith(": 0 rows\n")
    assert nas("trials", "--where", "val_loss < 0", "--format", "json").out == "[]\n"


def test_best_shows_where_its_model_is(nas, place):
    found = nas("best", "tiny")
    best = package.open_study("tiny").best()
    assert f"candidate  {best.candidate_id}" in found.out
    assert str(best.model_path) in found.out


def test_best_within_limits_is_another(nas, place):
    rows = package.open_study("tiny").trials()
    least = min(row.params for row in rows)
    found = json.loads(nas("best", "--max-params", least, "--format", "json").out)
    assert found[0]["params"] == least


def test_show_has_shape_curve_and_provenance(nas, place):
    found = nas("show")
    best = package.open_study("tiny").best()
    assert f"#{best.number} {best.candidate_id}" in found.out
    for words in ("shape (llama)", "1 to ", "val_loss", "training loss", "recipe", "torch", "cpu"):
        assert words in found.out
    assert f"studies/tiny/{best.model_path}" in found.out
    assert max(map(len, found.out.splitlines())) <= 80
    assert "frozenset" not in found.out


@pytest.mark.parametrize("arguments", [("tiny", "0"), ("tiny", "#0"), ("0",)])
def test_show_takes_a_number(nas, place, arguments):
    found = nas("show", *arguments)
    row = package.open_study("tiny").trials("number == 0", role="search")[0]
    assert f"#0 {row.candidate_id}" in found.out


def test_show_takes_the_start_of_an_id(nas, place):
    row = package.open_study("tiny").best()
    assert row.candidate_id in nas("show", row.candidate_id[:8]).out


def test_show_as_json_has_evaluations_with_curves(nas, place):
    found = json.loads(nas("show", "tiny", "0", "--format", "json").out)
    assert [one["tokens"] for one in found["evaluations"]] == [1024, 4096]
    assert found["evaluations"][-1]["curve"]
    assert found["versions"]["torch"]


def test_show_without_weights_says_how_to_train_again(nas, not_kept):
    found = nas("show", "tiny", not_kept.candidate_id)
    command = f"nas train tiny --candidate {not_kept.candidate_id}"
    assert command in " ".join(found.out.split())


def test_show_of_a_failed_candidate_has_error_and_traceback(nas, failed):
    found = nas("show", "tiny", "50")
    assert "failed: ValueError: too wide\nTraceback:\n  line 1" in found.out
    found = nas("trials", "--state", "failed")
    assert "failed" in found.out
    assert failed in found.out


def test_show_on_an_ascii_stream_does_not_fail(place):
    run = subprocess.run(
        [sys.executable, "-m", "nas", "show", "tiny"],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b". training loss  o validation loss" in run.stdout


def test_generate_goes_on_from_the_prompt(nas, place):
    found = nas("generate", "tiny", "--prompt", "the quick", "--max-new-tokens", "9", "--seed", "1")
    assert found.code == 0
    assert found.out.startswith("the quick")
    assert "models/" in found.err
    again = nas("generate", "--prompt", "the quick", "--max-new-tokens", "9", "--seed", "1")
    assert again.out == found.out


def test_generate_takes_a_model_folder(nas, place):
    study = package.open_study("tiny")
    folder = study.folder / study.best().model_path
    found = nas("generate", folder, "--max-new-tokens", "5", "--temperature", "0")
    assert found.code == 0
    assert str(folder) in found.err


def test_trained_again_is_the_same_to_the_last_bit(nas, not_kept):
    found = nas("train", "tiny", "--candidate", not_kept.candidate_id)
    assert found.code == 0
    assert "computes otherwise" not in found.out
    model = package.load("tiny", candidate=not_kept.candidate_id, verify=True)
    assert model.metrics["val"]["loss"] == not_kept.metrics["val_loss"]
    again = nas("train", "tiny", "--candidate", not_kept.number)
    assert "nothing to train" in again.out


def test_trained_again_on_other_data_is_refused(nas, own_place, not_kept):
    info = own_place / "studies/tiny/data/data.json"
    info.write_text(info.read_text().replace(not_kept.data_fingerprint, "0" * 12))
    found = nas("train", "tiny", "--candidate", not_kept.candidate_id)
    assert found.code == 2
    assert "is not the data that candidate" in found.err


def test_failed_candidate_is_not_trained_again(nas, failed):
    found = nas("train", "tiny", "--candidate", failed)
    assert found.code == 2
    assert "is failed, and only a complete one is trained again" in found.err


def test_rm_deletes_after_confirmation_alone(nas, own_place):
    refused = nas("rm", "tiny")
    assert refused.code == 2
    assert "confirm with --yes" in refused.err
    assert (own_place / "studies/tiny/study.db").exists()
    found = nas("rm", "tiny", "--yes")
    assert found.code == 0
    assert re.search(r"studies/tiny: \d candidates, \d models, [\d.]+ [kM]B", found.out)
    assert not (own_place / "studies/tiny").exists()


def test_rm_of_a_folder_with_other_things_is_refused(nas, own_place):
    (own_place / "studies/tiny/thesis.tex").write_text("years of work")
    found = nas("rm", "tiny", "--yes")
    assert found.code == 2
    assert "holds 'thesis.tex', which no search put there" in found.err
    assert (own_place / "studies/tiny/study.db").exists()


def test_rm_of_a_study_at_work_is_refused(nas, own_place):
    with claim(own_place / "studies/tiny"):
        found = nas("rm", "tiny", "--yes")
    assert (found.code, "is at work" in found.err) == (2, True)
    assert nas("rm", "tiny", "--yes").code == 0


def test_rm_of_a_link_is_refused(nas, own_place):
    (own_place / "studies/link").symlink_to(own_place / "studies/tiny")
    found = nas("rm", "studies/link", "--yes")
    assert found.code == 2
    assert "is a link" in found.err
