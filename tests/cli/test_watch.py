"""`nas watch`: what a search in another process is doing, from its database alone."""

import json
import signal
import subprocess
import sys
import time

import pytest

import nas as package
from nas.driver.claim import claim
from nas.store.store import Store

STANDING = {"done": 4, "limit": 9, "slots": 1, "best": 2.25, "remaining": 90.0}
RUNNING = {
    "candidate_id": "c5",
    "number": 5,
    "role": "search",
    "seed": 0,
    "shape": {"n_layer": 2, "d_model": 24, "d_ff": [16, 32]},
    "params": 5000.0,
    "start": 0,
    "tokens": 3000,
    "goal": 4000,
    "loss": 2.5,
    "seconds": 1.5,
}


@pytest.fixture
def at_work(own_place):
    """The searched study as if this process went on with its search."""
    study = package.open_study("tiny")
    with claim(study.folder), Store.open(study.url) as store:
        store.set_state(study.record, "running")
        store.set_standing(
            study.record,
            {
                "done": 4,
                "limit": 9,
                "slots": 1,
                "best": 2.25,
                "remaining": 90.0,
                "running": [RUNNING],
            },
        )
        yield study


def test_once_shows_what_the_live_view_shows(nas, at_work):
    found = nas("watch", "tiny", "--once")
    assert (found.code, found.err) == (0, "")
    how, who, line, footer = found.out.splitlines()
    assert how == "study tiny in studies/tiny"
    assert who.startswith("a search of ")
    assert line.split() == ["#5", "2L", "d24", "ff16..32", "5k", "━━━━━━──", "75%", "2.500", "2k/s",
                            "0.5", "s"]  # fmt: skip
    assert footer.startswith("4/9 done, best 2.2500, 1 min ")


def test_json_is_one_object(nas, at_work):
    found = nas("watch", "tiny", "--json")
    plain = json.loads(found.out)
    assert (plain["running"], plain["state"], plain["done"], plain["best"]) == (
        True, "running", 4, 2.25,
    )  # fmt: skip
    [one] = plain["candidates"]
    assert (one["number"], one["share"], one["tokens_per_second"]) == (5, 0.75, 2000)
    assert one["seconds_left"] == 0.5


def test_an_ended_search_shows_its_last_candidates_and_its_end(nas, place):
    found = nas("watch", "tiny")
    lines = found.out.splitlines()
    assert found.code == 0
    assert sum(line.startswith("#") for line in lines) == 5
    assert lines[-1].startswith("the search is finished: 3 candidates, best ")
    assert lines[-1].endswith("see: nas show tiny")
    plain = json.loads(nas("watch", "tiny", "--json").out)
    assert (plain["running"], plain["worker"], plain["candidates"]) == (False, None, [])
    assert plain["best"] == package.open_study("tiny").trials(role="search")[0].metrics["val_loss"]


def test_a_search_that_nobody_runs_is_told_with_what_to_do(nas, own_place):
    study = package.open_study("tiny")
    with Store.open(study.url) as store:
        store.set_state(study.record, "interrupted")
        said = nas("watch", "tiny", "--once").out
        assert "the search was stopped: 3 candidates, best " in said
        assert said.rstrip().endswith("it goes on with: nas search tiny")
        store.set_state(study.record, "running")
    found = nas("watch", "tiny", "--once")
    assert "nobody runs this search: it ended without a word; 3 candidates" in found.out


def test_a_study_that_is_not_there_is_a_mistake(nas, place):
    found = nas("watch", "nowhere")
    assert (found.code, found.out) == (2, "")
    assert "no study 'nowhere'" in found.err


@pytest.mark.slow
def test_ctrl_c_leaves_the_watch_and_the_search_goes_on(empty_place):
    file = empty_place / "tiny.yaml"
    file.write_text(
        file.read_text()
        .replace("tokens: 4096", "tokens: 400000")
        .replace("executor: inline", "executor: processes")
    )
    with (empty_place / "log").open("w") as log:
        search = subprocess.Popen([sys.executable, "-m", "nas", "search", "tiny.yaml"], stdout=log)
    watcher = None
    try:
        wait_until(lambda: (empty_place / "studies/tiny/study.db").exists(), search)
        wait_until(lambda: "under way" not in state(empty_place, search), search)
        watcher = subprocess.Popen(
            [sys.executable, "-m", "nas", "watch", "tiny"], stdout=subprocess.PIPE, text=True
        )
        assert watcher.stdout.readline() == "study tiny in studies/tiny\n"
        assert "running #" in watcher.stdout.readline()
        watcher.send_signal(signal.SIGINT)
        rest, _ = watcher.communicate(timeout=30)
        assert watcher.returncode == 0
        assert rest.endswith("left; the search goes on without you\n")
        assert search.poll() is None
        search.send_signal(signal.SIGINT)
        assert search.wait(60) == 130
        assert "it goes on with: nas search tiny" in said(empty_place)
    finally:
        for process in (search, watcher):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


def said(folder):
    command = [sys.executable, "-m", "nas", "watch", "tiny", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    return done.stdout


def state(folder, search):
    """Say `under way` until a candidate of the search runs."""
    command = [sys.executable, "-m", "nas", "watch", "tiny", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    running = done.returncode == 0 and json.loads(done.stdout)["candidates"]
    return "running" if running else "under way"


def wait_until(holds, process):
    until = time.monotonic() + 120
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
