"""What `auto` believes at first, and that evidence overrules it."""

from dataclasses import replace

import numpy as np
import pytest

from nas.records import TaskSpec
from nas.space.space import load_space
from nas.strategies import Observation, auto, make_strategy
from nas.strategies.auto import LARGE_FIRST
from nas.strategies.features import SIZE, Features


@pytest.fixture(scope="module")
def space():
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)
    return load_space("llama_small").bind(spec, context=64, batch=8)


@pytest.fixture(scope="module")
def sizes(space):
    return np.array([space.columns(shape)[SIZE] for shape in space.architectures()])


def observe(space, shape, number, loss):
    return Observation(
        number=number,
        architecture_id=shape.id,
        parameters=space.space.encode(shape),
        state="running" if loss is None else "complete",
        values=None if loss is None else (loss,),
        columns=space.columns(shape),
    )


def search(space, loss_of, count, seed=0):
    strategy = make_strategy("auto", space, seed=seed, directions=["minimize"])
    history = []
    while len(history) < count:
        shape = strategy.propose(history, len(history))
        history.append(observe(space, shape, len(history), loss_of(space.columns(shape)[SIZE])))
    return history


def test_begins_near_the_cap_and_then_asks_for_a_small_one(space, sizes):
    history = search(space, lambda size: -np.log(size), LARGE_FIRST + 1)
    seen = [one.columns[SIZE] for one in history]
    assert min(seen[:LARGE_FIRST]) > np.quantile(sizes, 0.9)
    rng = np.random.default_rng(1)  # draws reach all sizes, of which a space has more small ones
    drawn = [space.columns(space.sample(rng))[SIZE] for _ in range(1000)]
    assert seen[LARGE_FIRST] <= np.quantile(drawn, 0.6)  # its middle is one of a few draws


def test_running_candidates_do_not_draw_others_to_their_shape(space):
    history = search(space, lambda size: None, 4)
    codes = [tuple(one.parameters.values()) for one in history]
    steps = [sum(a != b for a, b in zip(codes[0], other, strict=True)) for other in codes[1:]]
    assert max(steps) >= 3


@pytest.mark.parametrize(
    "goal", [1.0, 0.5, 0.0], ids=["largest is best", "middle is best", "smallest is best"]
)
def test_finds_the_best_size_wherever_it_is(space, sizes, goal):
    low, high = np.log(sizes.min()), np.log(sizes.max())

    def distance(size):
        return abs((np.log(size) - low) / (high - low) - goal)

    history = search(space, lambda size: distance(size) ** 2, 24)
    assert min(distance(one.columns[SIZE]) for one in history) < 0.03


def test_paused_candidates_teach_too(space, sizes):
    def at_first_rung(one):
        return Observation(
            number=one.number,
            architecture_id=one.architecture_id,
            parameters=one.parameters,
            state="paused",
            values=None,
            columns=one.columns,
            rungs=((1000, one.values),),
        )

    history = [at_first_rung(one) for one in search(space, np.log, 12)]
    strategy = make_strategy("auto", space, seed=0, directions=["minimize"])
    found = [space.columns(strategy.propose(history, number))[SIZE] for number in range(12, 18)]
    assert np.median(found) < np.quantile(sizes, 0.1)


def heads_tried(space, loss_of_heads, count, seed=0):
    strategy = make_strategy("auto", space, seed=seed, directions=["minimize"])
    history, tried = [], []
    while len(history) < count:
        shape = strategy.propose(history, len(history))
        tried.append(shape.shape["n_head"])
        history.append(observe(space, shape, len(history), loss_of_heads(tried[-1])))
    return tried


def test_more_heads_of_their_own_width_are_tried_first_until_results_say_otherwise(
    space, monkeypatch
):
    def first():
        return np.mean([heads_tried(space, lambda _: None, LARGE_FIRST, seed) for seed in range(4)])

    expecting = first()
    monkeypatch.setattr(auto, "LARGER_IS_BETTER", replace(auto.LARGER_IS_BETTER, heads=0.0))
    assert expecting > first() + 0.5
    monkeypatch.undo()
    assert np.median(heads_tried(space, np.log, 24)[-8:]) <= 3


def test_heads_that_share_one_width_are_not_favoured(space):
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)
    shared = load_space("gpt2_small").bind(spec, context=64, batch=8)
    for bound, expected in ((space, "n_head"), (shared, None)):
        shapes = [bound.sample(np.random.default_rng(seed)) for seed in range(64)]
        seen = [(bound.space.encode(shape), bound.columns(shape)) for shape in shapes]
        features = Features(bound, seen)
        assert (features.heads is None) == (expected is None)
        if features.heads is not None:
            logs = np.log([shape.shape[expected] for shape in shapes])
            found = features(seen)[:, features.heads]
            assert np.allclose(found, (logs - logs.mean()) / logs.std())
