"""Failures that end or would end a worker process, in real searches."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from broken_tasks import BRIEF, by_width, with_task

import nas
from nas.driver import recovery, watch
from nas.driver.events import CandidateEnded, CandidateStarted, Note
from nas.errors import NasError
from nas.records import MICRO_BATCH

pytestmark = pytest.mark.slow


@pytest.fixture
def search(configure):
    """Runs a search on one worker whose task fails; returns its trials and what was seen."""

    def search(task, *, name="tiny", **changes):
        events = []

        def listen(event):
            events.append(event)
            if isinstance(event, CandidateEnded):
                pids.extend(workers())
                memory.append((event.outcome.state, *resident(pids[-1])))

        memory, pids = [], []
        config = configure(name, executor="processes", workers=1, **BRIEF | changes)
        study = nas.search(with_task(config, task), listener=listen)
        told = [event.text for event in events if isinstance(event, Note)]
        return SimpleNamespace(trials=study.trials, told=told, memory=memory, pids=pids)

    return search


def workers():
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [int(line.split()[0]) for line in listed.splitlines() if "nas.worker" in line]


def resident(pid):
    """Resident bytes of a worker, now and at its most."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if " kB" in line}
    return kilobytes.get("VmRSS", 0) * 1024, kilobytes.get("VmHWM", 0) * 1024


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        ("Segfaults", "the worker process died (SIGSEGV), 2 times under it", "string_at"),
        ("Killed", "the worker process died (SIGKILL), 2 times under it", ""),
    ],
)
def test_a_candidate_that_ends_its_worker_each_time_fails_and_nothing_else_does(
    search, monkeypatch, task, error, words
):
    monkeypatch.setattr(recovery, "RETRIES", 1)
    study = search(task)
    good, bad = by_width(study)
    assert {row.state for row in good} == {"complete"}
    for row in bad:
        assert (row.state, row.error) == ("failed", error)
        assert words in row.traceback
    retries = [text for text in study.told if "once more, from the beginning" in text]
    assert len(retries) == len(bad)
    assert workers() == []


def test_a_candidate_whose_worker_was_killed_once_is_trained_after_all(search):
    study = search("KilledOnce")
    assert {row.state for row in study.trials()} == {"complete"}
    assert {row.error for row in study.trials()} == {""}
    assert sum("once more" in text for text in study.told) == 1


def test_a_lost_job_goes_on_from_its_last_checkpoint(configure):
    """The worker is killed once it has saved something; the tokens before are not seen again."""
    done, killed = [], []

    def kill_after_checkpoint(event):
        done.append(event)
        if getattr(event, "checkpoint", None) is not None and not killed:
            [pid] = workers()
            os.kill(pid, 9)
            killed.append(event.checkpoint.tokens)

    text = {"per_candidate": {"tokens": 400_000, "eta": 1}, "finalists": {"top": 0}}
    config = configure(executor="processes", workers=1, stop={"candidates": 1}, **text)
    with pytest.MonkeyPatch.context() as patch:
        import nas.driver.jobs as jobs

        plain = jobs.Job
        patch.setattr(jobs, "Job", lambda **given: plain(**given, checkpoint_seconds=0.3))
        study = nas.search(config, listener=kill_after_checkpoint)
    [row] = study.trials()
    starts = [event.tokens for event in done if isinstance(event, CandidateStarted)]
    assert row.state == "complete"
    assert starts[0] == 0
    assert starts[1] >= killed[0] > 0
    whole = nas.search(configure("whole", stop={"candidates": 1}, **text))
    assert row.metrics["val_loss"] == whole.best().metrics["val_loss"]


def test_an_allocator_that_fails_is_answered_with_parts_of_a_batch(search):
    study = search("Bloated")
    good, bad = by_width(study)
    assert {row.state for row in (*good, *bad)} == {"complete"}
    assert {row.metrics[MICRO_BATCH] for row in bad} == {1.0}
    assert any("RuntimeError" in text and "can't allocate memory" in text for text in study.told)


def test_a_failed_candidate_gives_its_memory_back(search):
    study = search("Gorges")
    bad = by_width(study)[1]
    assert {row.state for row in bad} == {"oom"}
    before = study.memory[0][1]
    for state, now, most in study.memory:
        if state == "oom":
            assert most > before + 400 * 2**20
            assert now < before + 64 * 2**20


def test_a_worker_whose_gpu_is_spoilt_is_replaced(search):
    study = search("Spoils")
    good, bad = by_width(study)
    assert {row.state for row in good} == {"complete"}
    assert {row.state for row in bad} == {"failed"}
    assert len(set(study.pids)) > 1


def test_a_hang_costs_its_worker_and_its_candidate(search, monkeypatch):
    monkeypatch.setattr(watch, "GRACE_SECONDS", 7.0)  # after it has said where it stands
    limited = {**BRIEF["per_candidate"], "max_minutes": 0.25}
    study = search("Hangs", per_candidate=limited)
    good, bad = by_width(study)
    assert {row.state for row in good} == {"complete"}
    for row in bad:
        assert (row.state, row.error) == ("timeout", "not done in per_candidate.max_minutes 0.25")
        assert "RELEASE.wait()" in row.traceback
    assert workers() == []


def test_workers_that_keep_dying_end_the_search_and_each_rerun_comes_further(search, monkeypatch):
    monkeypatch.setattr(recovery, "LOST_IN_A_ROW", 1)
    for failed in (0, 1):
        with pytest.raises(NasError, match="3 workers died one after another and no job came"):
            search("Killed")
        rows = nas.open_study("tiny").trials()
        assert sum(row.state == "failed" for row in rows) == failed
        assert "complete" in {row.state for row in rows}
