"""Searches for loss and latency, and under a limit on latency, on the real path."""

import json

import numpy as np
import optuna
import pytest

import nas
from nas.driver import latency as limits
from nas.driver.events import CandidateEnded, Note
from nas.errors import ConfigError, InputError
from nas.executors.inline import InlineExecutor
from nas.records import Latency, TaskSpec, from_plain
from nas.space import SearchSpace
from nas.store.hypervolume import front_summary

BOTH = {
    "objectives": ["val_loss", "latency_ms"],
    "latency": {"phase": "prefill"},
    "finalists": {"top": 1, "seeds": 1},
}


def milliseconds(architecture):
    """A stand-in's latency: two a layer, and the width."""
    return 2.0 * architecture.shape["n_layer"] + architecture.shape["d_model"] / 16


@pytest.fixture
def clockwork(monkeypatch):
    """Every latency is what `milliseconds` says; returns the shapes that an executor measured."""
    asked = []

    def measured(architecture):
        found = milliseconds(architecture)
        return Latency(median_ms=found, low_ms=found, high_ms=found + 0.5, repeats=9, items=1)

    def latency(self, job):
        asked.append(job.candidate.architecture)
        return measured(job.candidate.architecture)

    def of_network(network, spec, how):
        shape = network.shape
        return measured(nas.architecture("llama", **shape.canonical()))

    monkeypatch.setattr(InlineExecutor, "latency", latency)
    monkeypatch.setattr("nas.measure.measure_latency", of_network)
    return asked


def search(config):
    events = []
    return nas.search(config, listener=events.append), events


def notes(events):
    return [event.text for event in events if isinstance(event, Note)]


@pytest.mark.parametrize("strategy", ["auto", "random"])
def test_loss_and_measured_latency_are_searched_together(configure, strategy):
    study, events = search(configure(**BOTH, strategy=strategy, stop={"candidates": 5}))
    rows = study.trials(role="search")
    assert len(rows) == 5
    assert all(row.metrics["latency_ms"] > 0 <= row.metrics["latency_iqr_ms"] for row in rows)
    assert all(event.outcome.timings["latency"] > 0 for event in events
               if isinstance(event, CandidateEnded))  # fmt: skip
    front = study.pareto()
    assert {row.role for row in front} == {"search"}
    assert front[0].candidate_id == rows[0].candidate_id
    summary = study.summary()["pareto"]
    assert summary["candidates"] == [row.candidate_id for row in front]
    assert summary == front_summary(rows, study.objectives)
    assert summary["hypervolume"] > 0
    middle = sorted(row.metrics["latency_ms"] for row in rows)[2]
    assert study.best(max_latency_ms=middle).metrics["latency_ms"] <= middle
    assert 1 <= len(study.trials(f"latency_ms < {middle}", role="search")) <= 2


def test_optuna_sees_all_objectives_and_which_way_they_are_better(configure):
    objectives = ["val_loss", "throughput", "params"]
    study, _ = search(configure(objectives=objectives, stop={"candidates": 3}))
    mirror = study.optuna_study()
    ways = optuna.study.StudyDirection
    assert mirror.directions == [ways.MINIMIZE, ways.MAXIMIZE, ways.MINIMIZE]
    [first, *_] = [t for t in mirror.trials if t.state == optuna.trial.TrialState.COMPLETE]
    row = study.candidate(first.user_attrs["candidate_id"])
    assert first.values == [row.metrics["val_loss"], row.metrics["throughput"], row.params]
    assert len(mirror.trials) == 3


def test_a_resumed_search_goes_on_with_the_same_objectives(configure, clockwork):
    whole, _ = search(configure("whole", **BOTH, strategy="auto", stop={"candidates": 7}))
    search(configure("halves", **BOTH, strategy="auto", stop={"candidates": 4}))
    halves, _ = search(configure("halves", **BOTH, strategy="auto", stop={"candidates": 7}))
    seen = [[(r.number, r.candidate_id, r.metrics) for r in s.trials(role="search", sort="number")]
            for s in (whole, halves)]  # fmt: skip
    assert seen[0] == seen[1]
    assert whole.summary()["pareto"] == halves.summary()["pareto"]


def test_lower_rungs_are_known_with_the_latency_of_the_shape(configure, monkeypatch, clockwork):
    histories = []
    monkeypatch.setattr(
        "nas.strategies.random.RandomStrategy.propose",
        lambda self, history, number: histories.append(history) or self._space.sample(
            np.random.default_rng(number)
        ),
    )  # fmt: skip
    search(configure(**BOTH, stop={"candidates": 3}))
    [(rung, (_, latency))] = histories[-1][0].rungs
    assert rung == 0
    assert latency == histories[-1][0].values[1] == 2 + 24 / 16


def test_shapes_above_the_limit_are_never_proposed(configure, clockwork):
    changes = {**BOTH, "latency": {"phase": "prefill", "max_ms": 4.6}, "stop": {"candidates": 50}}
    study, events = search(configure(**changes))
    rows = study.trials(role="search")
    held = [a for a in every_shape(configure()) if milliseconds(a) <= 4.6]
    assert {row.architecture_id for row in rows} == {shape.id for shape in held}
    assert 0 < len(held) < 24
    assert "latency predicted from 8 shapes" in notes(events)[0]
    assert len({shape.id for shape in clockwork[:8]}) == 8
    found = study.summary()["latency"]
    assert found["winner_ms"] == milliseconds(study.best().architecture) <= found["max_ms"] == 4.6


def every_shape(config):
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=16)
    return list(config.space.bind(spec, context=16, batch=8).architectures())


def test_prediction_is_kept_and_the_limit_may_move(configure, clockwork):
    def limited(max_ms, candidates):
        section = {"phase": "prefill", "max_ms": max_ms}
        return configure(**(BOTH | {"latency": section, "stop": {"candidates": candidates}}))

    study, _ = search(limited(4.6, 3))
    kept = (study.folder / limits.FILE).read_text()
    before, measured = len(study.trials(role="search")), len(clockwork)
    study, events = search(limited(3.6, 6))
    assert (study.folder / limits.FILE).read_text() == kept
    assert len(clockwork) < measured + limits.MEASURED
    later = [row for row in study.trials(role="search") if row.number >= before]
    assert later
    assert all(milliseconds(row.architecture) <= 3.6 for row in later)
    assert milliseconds(study.best().architecture) <= 3.6
    study, events = search(limited(3.6, 6))
    assert events == []


def test_a_reference_above_the_limit_is_left_out(configure, clockwork):
    study, events = search(configure(latency={"phase": "prefill", "max_ms": 3.2}))
    assert "the reference is above latency.max_ms 3.2: left out" in notes(events)
    assert configure().space.reference.id not in {row.architecture_id for row in study.trials()}
    assert study.summary()["reference"] is None


def test_a_limit_that_no_shape_holds_is_refused_in_one_line(configure, clockwork):
    with pytest.raises(ConfigError, match=r"max_ms: got 0\.5, and no shape.*fastest of 8.* 3 ms"):
        search(configure(latency={"phase": "prefill", "max_ms": 0.5}))


@pytest.mark.slow
def test_a_winner_above_the_limit_gives_way_to_the_next_that_holds_it(configure, monkeypatch):
    times = {}

    def latency(self, job):  # 3 ms before the search, then the truth
        asked.append(job.candidate.architecture.id)
        found = times.get(asked[-1], 3.0) if len(asked) > limits.MEASURED else 3.0
        return Latency(median_ms=found, low_ms=found, high_ms=found, repeats=9, items=1)

    monkeypatch.setattr(InlineExecutor, "latency", latency)
    asked = []
    changes = {
        "latency": {"phase": "prefill", "max_ms": 5},
        "finalists": {"top": 2, "seeds": 1},
        "stop": {"candidates": 3},
    }
    plain, _ = search(configure("plain", **changes))
    first, second, *_ = [group.architecture_id for group in plain.finalists()]
    assert plain.summary()["winner"] == first == asked[-1]
    asked.clear()
    times[first] = 7.0
    study, events = search(configure("slow", **changes))
    assert study.summary()["winner"] == study.best().architecture_id == second
    assert study.summary()["latency"]["measured_ms"] == {first: 7.0, second: 3.0}
    assert f"{first} takes 7 ms, above latency.max_ms 5: it cannot win" in notes(events)
    asked.clear()
    times[second] = times[asked_third(plain)] = 6.0
    study, events = search(configure("slower", **changes))
    assert study.summary()["latency"]["winner_ms"] == 6.0
    assert "none holds latency.max_ms 5: the fastest one wins" in notes(events)
    assert study.summary()["winner"] == second


def asked_third(study):
    """The last of the finalists, which is the second again if there are two."""
    return study.finalists()[-1].architecture_id


def test_without_finals_the_best_that_holds_the_limit_wins(configure, monkeypatch):
    def latency(self, job):
        return Latency(median_ms=3.0, low_ms=3.0, high_ms=3.0, repeats=9, items=1)

    monkeypatch.setattr(InlineExecutor, "latency", latency)
    changes = {"latency": {"phase": "prefill", "max_ms": 5}, "finalists": {"top": 0}}
    study, _ = search(configure(**changes))
    assert study.summary()["winner"] == study.trials()[0].architecture_id
    assert study.summary()["latency"]["winner_ms"] == 3.0


def test_a_damaged_prediction_is_named(configure, clockwork):
    changes = {"latency": {"phase": "prefill", "max_ms": 5}}
    study, _ = search(configure(**changes, stop={"candidates": 2}))
    (study.folder / limits.FILE).write_text("{}")
    with pytest.raises(InputError, match=r"latency\.json: unreadable.*delete it to measure anew"):
        search(configure(**changes, stop={"candidates": 3}))


def test_a_latency_device_that_is_not_here_is_refused(configure, tmp_path):
    with pytest.raises(InputError, match="'cuda:77' is not here"):
        search(configure(latency={"phase": "prefill", "device": "cuda:77"}))
    assert not (tmp_path / "studies" / "tiny").exists()


# The prediction alone


def bound(max_layers=6):
    space = SearchSpace.from_plain(
        {
            "format_version": 1,
            "family": "llama",
            "fixed": {"head_dim": 8},
            "dimensions": {
                "n_layer": {"min": 1, "max": max_layers},
                "d_model": {"choices": [16, 32, 64, 96]},
                "n_head": {"min": 1, "max": 4},
                "d_ff": {"min": 16, "max": 256, "step": 16, "per_layer": True},
            },
        },
        where="test",
    )
    spec = TaskSpec(task="", head="causal_lm", vocab_size=97, context=32)
    return space.bind(spec, context=32, batch=4)


def true_time(space, shape):
    columns = space.columns(shape)
    return 0.1 + 0.2 * shape.shape["n_layer"] + 1e-6 * columns["non_embedding_params"]


def test_a_linear_truth_is_found_and_bounds_the_draws():
    space, rng = bound(), np.random.default_rng(0)
    shapes = limits.spread_shapes(space, 8, rng)
    assert len({shape.id for shape in shapes}) == 8
    assert {shape.shape["n_layer"] for shape in shapes} >= {1, 6}
    found = limits.fit(space, shapes, [true_time(space, shape) for shape in shapes])
    assert found.error < 1e-6
    assert all(weight > 0 for weight in found.column.weights.values())
    limited = space.under(found.column, 0.6)
    draws = [limited.sample(rng) for _ in range(200)]
    assert max(true_time(space, shape) for shape in draws) <= 0.6 + 1e-9
    assert max(shape.shape["n_layer"] for shape in draws) == 2
    slow = space.space.encode(max(shapes, key=lambda shape: true_time(space, shape)))
    assert limited.at(slow) is None
    assert true_time(space, limited.nearest(slow)) <= 0.6 + 1e-9
    assert limited.feasible_share(rng) < space.feasible_share(rng)


def test_noise_shows_in_the_error_and_no_share_is_negative():
    space, rng = bound(), np.random.default_rng(1)
    shapes = limits.spread_shapes(space, 8, rng)
    noise = rng.uniform(0.5, 1.5, len(shapes))
    times = [true_time(space, shape) for shape in shapes] * noise
    found = limits.fit(space, shapes, list(times))
    assert 0.05 < found.error < 2
    assert found.column.constant >= 0
    assert all(weight > 0 for weight in found.column.weights.values())


def test_a_prediction_round_trips_through_json():
    space, rng = bound(), np.random.default_rng(2)
    shapes = limits.spread_shapes(space, 8, rng)
    found = limits.fit(space, shapes, [true_time(space, shape) for shape in shapes])
    again = limits.Prediction.from_plain(json.loads(json.dumps(found.to_plain())))
    assert again == found
    assert from_plain(type(found.column), {"name": "x", "constant": 1, "weights": {}}).constant == 1


def test_a_space_of_few_shapes_is_measured_whole():
    space = bound(max_layers=1)
    assert len(limits.spread_shapes(space, 10_000, np.random.default_rng(0))) == space.size()
