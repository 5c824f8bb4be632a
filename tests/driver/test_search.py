import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from interrupting import at_first_progress
from pids import workers_of
from tiny_study import MANY

import nas
from nas.driver import SearchInterrupted
from nas.driver.claim import claim
from nas.driver.events import CandidateEnded, CandidateStarted, FinalsStarted, Note
from nas.driver.retrain import retrain
from nas.errors import DeviceError, InputError, NasError, NotFoundError
from nas.executors.inline import InlineExecutor
from nas.records import Outcome, Progress
from nas.store.store import Store

HERE = Path(__file__).parent


def losses(study):
    return [
        (row.number, row.role, row.candidate_id, row.metrics["val_loss"]) for row in by_age(study)
    ]


def by_age(study):
    return sorted(study.trials(), key=lambda row: (row.role != "search", row.seed, row.number))


def test_same_seed_gives_the_same_candidates_and_bit_equal_losses(configure):
    first = nas.search(configure("first"))
    second = nas.search(configure("second"))
    assert losses(first) == losses(second)
    assert len(losses(first)) == 4 + 2 * 3 - 2 * first_is_reference(first)


def first_is_reference(study):
    """1 if the reference was among the top 2, and so is no third entrant of the finals."""
    return int(len(study.finalists()) == 2)


def test_another_seed_gives_other_candidates(configure):
    first = nas.search(configure("first"))
    second = nas.search(configure("second", seed=7))
    ids = [{row.architecture_id for row in s.trials(role="search")} for s in (first, second)]
    assert ids[0] != ids[1]
    assert len(ids[0] & ids[1]) >= 1  # the reference


def test_reference_is_first_and_no_shape_is_tried_twice(configure):
    study = nas.search(configure(strategy="tpe", stop={"candidates": 14}))
    rows = by_age(study)[:14]
    assert dict(rows[0].shape) == {"n_layer": 1, "d_model": 24, "n_head": 2, "d_ff": 32}
    assert len({row.architecture_id for row in rows}) == 14


def test_an_exhausted_space_ends_the_search(configure):
    events = []
    space = {
        "format_version": 1,
        "family": "llama",
        "fixed": {"n_layer": 1, "n_head": 1, "d_ff": 32},
        "dimensions": {"d_model": {"choices": [16, 24, 32]}},
    }
    study = nas.search(configure(space=space, stop={"candidates": 50}), listener=events.append)
    assert len(study.trials(role="search")) == 3
    [finals] = [event for event in events if isinstance(event, FinalsStarted)]
    assert finals.reason == "every feasible shape has been tried"


def test_finals_use_fresh_seeds_and_only_they_read_test(configure):
    study = nas.search(configure())
    for row in study.trials():
        assert ("test_loss" in row.metrics) == (row.role != "search")
        assert (row.seed == 0) == (row.role == "search")
    for group in study.finalists():
        assert sorted(row.seed for row in group.rows) == [1, 2]
    assert sum(group.is_reference for group in study.finalists()) == 1


def test_only_the_best_models_winner_and_reference_are_kept(configure):
    study = nas.search(configure(keep=1))
    kept = [row for row in study.trials() if row.model_path]
    folders = sorted(path.name for path in (study.folder / "models").iterdir())
    assert folders == sorted(row.candidate_id for row in kept)
    assert study.trials()[0].candidate_id in folders
    winner, reference = study.summary()["winner"], study.summary()["reference"]
    assert {winner, reference} <= {row.architecture_id for row in kept}
    assert len(kept) <= 3
    uncooled = [row for row in study.trials() if row.checkpoint]  # to be trained further
    assert {row.architecture_id for row in uncooled} == {winner, reference}
    assert len(uncooled) == len({winner, reference})
    assert {f"checkpoints/{path.name}" for path in (study.folder / "checkpoints").iterdir()} == {
        row.checkpoint.uri for row in uncooled
    }


def test_a_winner_keeps_its_weights_when_a_finished_search_goes_on(configure, monkeypatch):
    """Later shapes do better in the search, take the only place, and do worse in the finals.

    All losses are above those measured: workers keep weights only of what may be among the best.
    """
    started, events = {}, InlineExecutor.events

    def scripted(executor, timeout):
        found = events(executor, timeout)
        return [scored(e) if isinstance(e, Outcome) and e.evaluations else e for e in found]

    def scored(outcome):
        number, role = started[outcome.candidate_id]
        loss = 100 - number if role == "search" else 200 + number
        last = outcome.evaluations[-1]
        metrics = {split: {**found, "loss": loss} for split, found in last.metrics.items()}
        return replace(outcome, evaluations=(replace(last, metrics=metrics),))

    def listen(event):
        if isinstance(event, CandidateStarted):
            started[event.candidate_id] = event.number, event.role

    monkeypatch.setattr(InlineExecutor, "events", scripted)
    settings = {"keep": 1, "finalists": {"top": 1, "seeds": 1}}
    study = nas.search(configure(stop={"candidates": 1}, **settings), listener=listen)
    assert study.best().role == "search", "the better seed of the winner"
    study = nas.search(configure(stop={"candidates": 3}, **settings), listener=listen)
    assert study.best().number == 0
    assert len([row for row in study.trials() if row.model_path]) == 2
    nas.load(study.best(), verify=True)


def test_without_a_test_split_finals_compare_validation(configure):
    study = nas.search(configure(split={"train": 0.9, "val": 0.1, "test": 0}))
    assert all("test_loss" not in row.metrics for row in study.trials())
    for comparison in study.summary()["against_reference"].values():
        assert comparison["metric"] == "val_loss"


def test_a_finished_study_returns_at_once_and_a_raised_limit_goes_on(configure):
    events = []
    before = losses(nas.search(configure()))
    again = nas.search(configure(), listener=events.append)
    assert (events, before) == ([], losses(again))
    more = nas.search(configure(stop={"candidates": 6}))
    assert losses(more)[:4] == before[:4]
    assert len(more.trials(role="search")) == 6


@pytest.mark.parametrize(("more", "seeds"), [({"top": 3}, [1]), ({"seeds": 2}, [1, 2])])
def test_more_finals_are_held_for_a_finished_study(configure, more, seeds):
    few = {"top": 1, "seeds": 1}
    before = losses(nas.search(configure(finalists=few)))
    after = nas.search(configure(finalists=few | more))
    assert set(before) < set(losses(after))
    for group in after.finalists()[:2]:
        assert [row.seed for row in group.rows] == seeds


def test_goes_on_as_an_uninterrupted_search_would(configure):
    nas.search(configure("stepwise", stop={"candidates": 3}))
    stepwise = nas.search(configure("stepwise", stop={"candidates": 12}, strategy="tpe"))
    whole = nas.search(configure("whole", stop={"candidates": 12}, strategy="tpe"))
    assert losses(stepwise)[:12] == losses(whole)[:12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "exists with another setting: seed: 0 in the study, 3 asked for"),
        ({"recipe": {"context": 16, "batch": 4}}, "recipe.batch: 8 in the study, 4 asked for"),
        ({"split": {"train": 0.9, "val": 0.1, "test": 0}}, "split.train"),
        ({"per_candidate": {"tokens": 8192, "eta": 1}}, "per_candidate.tokens"),
    ],
)
def test_a_study_that_exists_is_held_to_its_settings(configure, change, message):
    study = nas.search(configure(finalists={"top": 1, "seeds": 1}, stop={"candidates": 1}))
    before = losses(study)
    with pytest.raises(InputError, match=message):
        nas.search(configure(**change))
    assert losses(nas.open_study("tiny")) == before


def test_data_that_changed_is_refused(configure, tmp_path):
    nas.search(configure(stop={"candidates": 1}))
    (tmp_path / "words.txt").write_text("other words " * 4000, encoding="utf-8")
    with pytest.raises(InputError, match=r"words\.txt has changed since the study began"):
        nas.search(configure(stop={"candidates": 2}))


def test_fresh_moves_the_old_study_aside(configure):
    first = nas.search(configure(stop={"candidates": 1}))
    nas.search(configure(stop={"candidates": 2}, seed=5), fresh=True)
    assert (first.folder.parent / "tiny.1" / "study.db").is_file()
    assert len(nas.open_study("tiny").trials(role="search")) == 2


def test_renamed_folder_of_another_study_is_refused(configure):
    study = nas.search(configure(stop={"candidates": 1}))
    renamed = study.folder.rename(study.folder.with_name("other"))
    models = sorted((renamed / "models").iterdir())
    with pytest.raises(InputError, match=r"other: holds study 'tiny', whose folder was renamed"):
        nas.search(configure("other"))
    assert models
    assert sorted((renamed / "models").iterdir()) == models


def test_fresh_with_a_mistake_leaves_the_old_study_where_it_is(configure):
    first = nas.search(configure(stop={"candidates": 1}))
    task = {"name": "language_modeling", "data": "nothere.txt"}
    with pytest.raises(InputError, match=r"nothere\.txt: no such file"):
        nas.search(configure(task=task), fresh=True)
    assert [folder.name for folder in first.folder.parent.iterdir()] == ["tiny"]
    assert losses(nas.open_study("tiny")) == losses(first)


def test_device_that_is_not_here_is_not_stored(configure):
    with pytest.raises(DeviceError, match="device 'cuda:99' is not here"):
        nas.search(configure(device="cuda:99"))
    with pytest.raises(NotFoundError):
        nas.open_study("tiny")
    study = nas.search(configure(stop={"candidates": 1}))
    with pytest.raises(DeviceError):
        nas.search(configure(device="cuda:99", stop={"candidates": 2}))
    assert nas.open_study("tiny").config == study.config


def test_study_begun_on_a_device_that_is_gone_says_how_to_go_on(configure):
    study = nas.search(configure(stop={"candidates": 1}))
    with Store.open(study.url) as store:
        store.set_numerics(study.record, replace(study.record.numerics, device="cuda:99"))
    more = {"candidates": 2}
    with pytest.raises(DeviceError, match=r"begun on cuda:99: .* go on with --device cpu"):
        nas.search(configure(device="auto", stop=more))
    assert len(nas.search(configure(stop=more)).trials(role="search")) == 2


def test_second_search_of_a_study_is_refused_while_one_is_at_work(configure):
    refused = []

    def search_too(event):
        if isinstance(event, CandidateStarted) and not refused:
            for fresh in (False, True):
                with pytest.raises(InputError, match=r"'tiny': a search of .* is at work in"):
                    nas.search(configure(), fresh=fresh)
                refused.append(fresh)

    study = nas.search(configure(), listener=search_too)
    assert refused == [False, True]
    assert [folder.name for folder in study.folder.parent.iterdir()] == ["tiny"]
    assert nas.search(configure()).summary() == study.summary()


def test_training_again_is_refused_while_a_search_is_at_work(configure):
    study = nas.search(configure(keep=1))
    row = next(row for row in study.trials() if row.model_path is None)
    with (
        claim(study.folder),
        pytest.raises(InputError, match=r"a search of .* is at work in"),
    ):
        retrain(study, row.candidate_id)
    assert retrain(study, row.candidate_id).model_path is not None


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[::-1]])
def test_damaged_checkpoint_costs_time_and_not_the_candidate(configure, damage):
    study = interrupted_at_first_progress(configure(**LONG))
    [left] = study.trials()
    checkpoint = study.folder / left.checkpoint.uri
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    events = []
    resumed = nas.search(configure(**LONG), listener=events.append)
    assert losses(resumed) == losses(nas.search(configure("whole", **LONG)))
    [note] = [event.text for event in events if isinstance(event, Note)]
    assert note.startswith("#0: ")
    assert "checkpoint is damaged (" in note
    assert note.endswith("; training begins anew")


# Longer than it takes to interrupt it.
LONG = {
    "per_candidate": {"tokens": 100_000, "eta": 1},
    "stop": {"candidates": 1},
    "finalists": {"top": 0},
}


def interrupted_at_first_progress(config):
    with pytest.raises(SearchInterrupted):
        nas.search(config, listener=at_first_progress())
    return nas.open_study(config.name)


def test_a_folder_that_cannot_be_written_is_refused(configure, tmp_path):
    (tmp_path / "studies").write_text("a file is in the way")
    with pytest.raises(InputError, match="cannot write the study here"):
        nas.search(configure())


def test_candidates_that_diverge_are_recorded_and_end_a_hopeless_search(configure):
    config = configure(
        recipe={"context": 16, "batch": 8, "rate": 10.0, "weight_decay": 1.0},
        per_candidate={"tokens": 16_384, "eta": 1},
        stop={},
    )
    with pytest.raises(NasError, match=r"8 of 8 candidates failed and none is complete.*diverged"):
        nas.search(config)
    rows = nas.open_study("tiny").trials()
    assert {row.state for row in rows} == {"diverged"}
    assert all("the training loss" in row.error for row in rows)


def test_optuna_opens_the_mirror(configure):
    import optuna

    study = nas.search(configure())
    mirror = optuna.load_study(study_name="tiny", storage=f"sqlite:///{study.folder / 'study.db'}")
    values = {row.candidate_id: row.metrics["val_loss"] for row in study.trials(role="search")}
    assert {t.user_attrs["candidate_id"]: t.value for t in mirror.trials} == values
    assert mirror.best_value == min(values.values())


def test_leftovers_of_a_crash_are_put_right(configure):
    study = nas.search(configure(stop={"candidates": 2}))
    stray = study.folder / "models" / "0123456789ab"
    stray.mkdir()
    (study.folder / "checkpoints" / "stray.safetensors").write_bytes(b"")
    nas.search(configure(stop={"candidates": 3}))
    assert not stray.exists()
    assert not (study.folder / "checkpoints" / "stray.safetensors").exists()


def test_worker_processes_train_what_inline_trains(configure):
    inline = nas.search(configure("inline"))
    spread = nas.search(configure("spread", executor="processes", workers=2))
    assert losses(inline) == losses(spread)


@pytest.mark.slow
def test_a_killed_worker_costs_no_candidate(configure):
    killed, notes = [], []

    def kill_once(event):
        if isinstance(event, Progress) and not killed:
            killed.append(event.candidate_id)
            for pid in workers_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        if isinstance(event, Note):
            notes.append(event.text)

    config = configure(executor="processes", workers=1, per_candidate={"tokens": 100_000, "eta": 1})
    study = nas.search(config, listener=kill_once)
    assert {row.state for row in study.trials()} == {"complete"}
    [note] = notes
    assert note.startswith(f"{killed[0]}: the worker process died (SIGKILL); once more, from")


SCRIPT = """
import json, sys
import nas
from nas.config import config_from_plain
plain = json.loads(sys.argv[1])
def show(event):
    print(type(event).__name__, getattr(event, "number", ""), flush=True)
    if type(event).__name__ == "Progress":
        sys.stdin.readline()  # do not run away from the signal
nas.search(config_from_plain(plain, where="test", name="tiny"), listener=show)
"""


@pytest.mark.parametrize("executor", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_interrupted_and_resumed_equals_uninterrupted(configure, tmp_path, executor):
    changes = {
        "executor": executor,
        "workers": 1,
        "per_candidate": {"tokens": 50_000, "eta": 1},  # longer than it takes to press Ctrl-C
        "stop": {"candidates": 2},
    }
    whole = losses(nas.search(configure("whole", **changes)))
    plain = configure(**changes).to_plain()
    del plain["latency"], plain["workers"]
    run = [sys.executable, "-c", SCRIPT, json.dumps(plain | {"workers": 1})]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(run, **pipes, text=True) as first:
        for line in first.stdout:
            if line.startswith("Progress"):
                first.send_signal(signal.SIGINT)
                break
        _, errors = first.communicate("\n", timeout=60)
    assert first.returncode != 0
    assert "SearchInterrupted" in errors
    [left] = nas.open_study("tiny").trials()
    assert (left.state, left.checkpoint is not None) == ("interrupted", True)
    resumed = nas.search(configure(**changes))
    assert losses(resumed) == whole


def test_events_tell_the_story(configure):
    events = []
    nas.search(configure(), listener=events.append)
    started = [event for event in events if isinstance(event, CandidateStarted)]
    ended = [event for event in events if isinstance(event, CandidateEnded)]
    assert [e.candidate_id for e in started] == [e.outcome.candidate_id for e in ended]
    best = [event.best for event in ended]
    assert best == sorted(best, reverse=True)


@pytest.mark.slow
def test_minutes_hold_for_the_whole_search(configure):
    begun = time.monotonic()
    config = configure(
        stop={"minutes": 0.3}, per_candidate={"tokens": 20_000, "eta": 1}, space=MANY
    )
    study = nas.search(config)
    assert time.monotonic() - begun < 45
    assert len(study.trials(role="search")) >= 2
    assert study.finalists()
