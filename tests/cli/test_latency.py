"""`nas profile`, and latency wherever candidates are listed."""

import csv
import io
import json

import nas as package

BOTH = ("--set", "objectives=[val_loss, latency_ms]", "--set", "latency.phase=prefill")


def shown(text, name):
    [line] = [line for line in text.splitlines() if line.startswith(f"{name}  ")]
    return line.removeprefix(name).strip()


def test_profile_of_a_shape_shows_costs_and_every_phase(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = ("--set", "n_layer=1", "--set", "d_model=32", "--set", "d_ff=64")
    found = nas("profile", "--space", "llama_tiny", *shape, "--context", "16", "--repeats", "3")
    assert found.code == 0, found.err
    assert found.out.splitlines()[:2] == ["llama 1L d32 h4 hd16 ff64", "a shape of llama_tiny"]
    assert shown(found.out, "timed on") == "cpu, 1 thread"
    assert [line.split()[:3] for line in found.out.splitlines()[-3:]] == [
        ["prefill", "1", "16"],
        ["decode", "1", "16"],
        ["throughput", "32", "16"],
    ]


def test_profile_says_of_a_shape_that_it_is_outside_its_space(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = ("--set", "n_layer=4", "--set", "d_model=128", "--phase", "decode", "--repeats", "2")
    found = nas("profile", "--space", "llama_tiny", *shape)
    assert "a shape outside llama_tiny (d_model: 128 is not one of" in found.out


def test_profile_for_programs_is_exact(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("profile", "--space", "bert_tiny", "--batch", "2", "--context", "8", "--repeats", "2")
    plain = json.loads(nas(*asked, "--format", "json").out)
    assert plain["weight_bytes"] == 4 * plain["params"]
    assert [one["phase"] for one in plain["latency"]] == ["prefill", "throughput"]
    for one in plain["latency"]:
        assert one["low_ms"] <= one["latency_ms"] <= one["high_ms"]
        assert (one["batch"], one["context"], one["threads"], one["repeats"]) == (2, 8, 1, 2)
    rows = list(csv.DictReader(io.StringIO(nas(*asked, "--format", "csv").out)))
    assert [row["params"] for row in rows] == [str(plain["params"])] * 2


def test_profile_of_a_study_a_candidate_and_a_folder_agree(nas, place):
    study = package.open_study("tiny")
    best = study.best()
    asked = ("--phase", "decode", "--repeats", "2", "--format", "json")
    folder = study.folder / best.model_path
    found = [
        nas("profile", *asked),
        nas("profile", "tiny", "--candidate", best.candidate_id[:8], *asked),
        nas("profile", folder, *asked),
    ]
    assert [one.code for one in found] == [0, 0, 0]
    plain = [json.loads(one.out) for one in found]
    for one in plain:
        del one["latency"]
    assert plain[0] == plain[1] == plain[2]
    assert plain[0]["params"] == best.params
    assert plain[0]["train_memory_bytes"] == best.train_memory_bytes
    assert "model folder" in nas("profile", folder, "--repeats", "1").out
    refused = nas("profile", folder, "--candidate", "1")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


def test_search_for_loss_and_latency_is_told_and_listed(nas, empty_place):
    found = nas("search", "tiny.yaml", *BOTH, "--set", "latency.max_ms=50")
    assert found.code == 0, found.err
    study = package.open_study("tiny")
    rows = study.trials(role="search")
    summary = study.summary()
    assert "latency predicted from 8 shapes" in found.out
    assert "Pareto front of the search" in found.out
    assert f"hypervolume {summary['pareto']['hypervolume']:.4g} from val_loss" in found.out
    assert f"the winner takes {summary['latency']['winner_ms']:.3g} ms" in found.out
    assert "within latency.max_ms 50" in found.out

    front = nas("trials", "tiny", "--pareto", "--format", "json")
    ids = [row["candidate_id"] for row in json.loads(front.out)]
    assert ids == summary["pareto"]["candidates"]
    assert "latency_ms" in nas("trials", "tiny").out.splitlines()[1]

    quickest = min(row.metrics["latency_ms"] for row in rows)
    best = nas("best", "tiny", "--max-latency-ms", 1.0001 * quickest, "--where", "role == 'search'",
               "--format", "json")  # fmt: skip
    assert json.loads(best.out)[0]["latency_ms"] == quickest
    assert nas("best", "tiny", "--max-latency-ms", "1e-9").code == 2
    held = nas("trials", "tiny", "--where", f"latency_ms <= {quickest}", "--format", "json")
    assert quickest in [row["latency_ms"] for row in json.loads(held.out)]
    assert "Pareto front: on it" in nas("show", "tiny", ids[0]).out

    refused = nas("search", "tiny.yaml", *BOTH, "--set", "latency.batch=2")
    assert refused.code == 2
    assert "latency.batch: 1 in the study, 2 asked for" in refused.err


def test_limit_that_no_shape_holds_is_one_line(nas, empty_place):
    found = nas("search", "tiny.yaml", "--set", "latency.max_ms=0.001")
    assert (found.code, len(found.err.splitlines())) == (2, 1)
    assert "latency.max_ms: got 0.001, and no shape of the space" in found.err
