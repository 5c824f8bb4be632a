"""The most that a study takes of the disk is known before it begins."""

import threading

import numpy as np
import pytest

import nas
from nas.driver import disk
from nas.driver.opening import open_for_search
from nas.records import TaskSpec
from nas.space import SearchSpace
from nas.study import studies_folder


class Peak:
    """Watches what a folder takes while a search runs."""

    def __init__(self, folder):
        self.folder, self.bytes = folder, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def look(self):
        self.bytes = max(self.bytes, disk.taken_bytes(self.folder))

    def _watch(self):
        while not self._stop.wait(0.005):
            self.look()


PER_LAYER = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"n_head": 2, "d_model": 32},
    "dimensions": {
        "n_layer": {"min": 2, "max": 3},
        "d_ff": {"choices": [32, 48, 64], "per_layer": True},
    },
}
SEARCHES = {
    "small": {
        "per_candidate": {"tokens": 2048, "eta": 1},
        "finalists": {"top": 1, "seeds": 1},
        "stop": {"candidates": 3},
    },
    "usual": {"finalists": {"top": 3, "seeds": 2}, "stop": {"candidates": 8}, "keep": 5},
    "paused": {
        "per_candidate": {"tokens": 4096, "rungs": [1024, 2048, 4096], "eta": 2},
        "stop": {"candidates": 14},
        "finalists": {"top": 1, "seeds": 2},
        "keep": 1,
    },
    "per-layer": {"space": PER_LAYER, "stop": {"candidates": 6}, "keep": 3},
    "two workers": {"executor": "processes", "workers": 2, "stop": {"candidates": 8}},
}


def need_here(config):
    """Return what is said before a search."""
    opened = open_for_search(config)
    try:
        return disk.need_of(opened, config.workers or 1)
    finally:
        opened.close()


def peak_of(config):
    """Search, and return the most that it took and what was said before."""
    need = need_here(config)
    with Peak(studies_folder() / config.name) as peak:
        nas.search(config, listener=lambda _: peak.look())
    return peak.bytes, need


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_search_never_takes_more_than_was_said(configure, name):
    taken, need = peak_of(configure(**SEARCHES[name]))
    print(f"{name}: {taken} of at most {need.most}, {taken / need.most:.2f}")
    assert need.least < taken <= need.most < 10 * taken


@pytest.mark.slow
def test_a_finished_search_that_goes_on_takes_no_more_than_is_said_then(configure):
    nas.search(configure(**SEARCHES["usual"]))
    raised = configure(**{**SEARCHES["usual"], "stop": {"candidates": 11}})
    taken, need = peak_of(raised)
    assert need.least < taken <= need.most < 10 * taken


@pytest.mark.slow
def test_a_study_on_a_server_takes_less_and_never_more_than_was_said(
    configure, postgres_url, monkeypatch
):
    here = need_here(configure(**SEARCHES["paused"]))
    monkeypatch.setenv("NAS_DATABASE", postgres_url.replace("+psycopg", ""))
    taken, need = peak_of(configure("there", **SEARCHES["paused"]))
    assert need.least < taken <= need.most < 10 * taken
    assert here.least - need.least == disk.LEAST_DATABASE
    assert here.most - need.most > disk.DATABASE_BYTES + disk.LOG_LEAST
    assert here.one == need.one


@pytest.mark.slow
@pytest.mark.parametrize("study", ["digits", "name_functions"])
def test_shipped_study_never_takes_more_than_was_said(study, tmp_path, monkeypatch):
    from nas.driver.settings import find_settings

    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "studies"))
    config = find_settings(
        study,
        overrides={"stop": {"candidates": 7}, "per_candidate": {"examples": 400}, "workers": 1},
    ).config
    taken, need = peak_of(config)
    print(f"{study}: {taken} of at most {need.most}, {taken / need.most:.2f}")
    assert need.least < taken <= need.most < 10 * taken


def test_bound_of_a_large_space_covers_its_draws(configure):
    many = {
        "format_version": 1,
        "family": "llama",
        "dimensions": {
            "n_layer": {"min": 1, "max": 12},
            "d_model": {"min": 32, "max": 256, "step": 8},
            "n_head": {"choices": [1, 2, 4]},
            "d_ff": {"min": 16, "max": 512, "step": 4, "per_layer": "free"},
            "tied": {"choices": [False, True]},
        },
    }
    space = SearchSpace.from_plain(many, where="test")
    spec = TaskSpec(task="", head="causal_lm", vocab_size=257, context=16)
    bound = space.bind(spec, context=16, batch=8)
    low, high = bound.bounds("params")
    rng = np.random.default_rng(0)
    seen = [bound.columns(bound.sample(rng))["params"] for _ in range(50)]
    assert low <= min(seen)
    assert max(seen) <= high
    largest = {"n_layer": 12, "d_model": 256, "n_head": 4, "d_ff": 512, "tied": False}
    assert high == bound.columns(nas.architecture("llama", **largest))["params"]
    limited = SearchSpace.from_plain({**many, "constraints": {"max_params": 500_000}}, where="test")
    assert limited.bind(spec, context=16, batch=8).bounds("params")[1] == 500_000
