"""A warm start: related evidence finds the best sooner, misleading evidence costs little."""

import math

import numpy as np
import pytest

from nas.records import TaskSpec
from nas.space.space import load_space
from nas.strategies import STRATEGIES, Evidence, Observation, make_strategy
from nas.strategies.features import SIZE
from nas.strategies.warm import warmed

SEEDS = range(3)


@pytest.fixture(scope="module")
def space():
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)
    return load_space("llama_tiny").bind(spec, context=64, batch=8)


@pytest.fixture(scope="module")
def shapes(space):
    return list(space.architectures())


def loss_of(space, shape, middle=5e4):
    """A loss that is best at a middle size and a middle depth, as of a brief training."""
    size = math.log(space.columns(shape)[SIZE] / middle)
    narrow = math.log(shape.shape["d_model"] / 16 / shape.shape["n_layer"])
    return 2 + 0.2 * size**2 + 0.1 * narrow**2


def evidence(space, shapes, count=24, sign=1, **other):
    """What another study found: on another scale, with noise, best at a smaller size."""
    rng = np.random.default_rng(1)
    return [
        Evidence(
            architecture=shape,
            parameters=space.space.encode(shape),
            columns=space.columns(shape),
            value=sign * (7 + 3 * loss_of(space, shape, 4e4) + 0.03 * rng.standard_normal()),
            **other,
        )
        for shape in (shapes[at] for at in rng.choice(len(shapes), size=count, replace=False))
    ]


def search(name, space, count, *, seed, known=(), sign=1):
    """Losses in the order of proposal, after a reference as a study has it; and the history."""
    directions = ["minimize" if sign == 1 else "maximize"]
    history = []
    while len(history) < count:
        strategy = warmed(
            make_strategy(name, space, seed=seed, directions=directions), known, directions
        )
        shape = strategy.propose(history, len(history)) if history else space.space.reference
        history.append(
            Observation(
                number=len(history),
                architecture_id=shape.id,
                parameters=space.space.encode(shape),
                state="complete",
                values=(sign * loss_of(space, shape),),
                columns=space.columns(shape),
            )
        )
    return history


def best(history):
    return min(seen.values[0] for seen in history)


def mean_best(name, space, count, known=()):
    return np.mean([best(search(name, space, count, seed=s, known=known)) for s in SEEDS])


@pytest.mark.parametrize("name", ["auto", "random", "tpe"])
def test_related_evidence_finds_the_best_sooner(space, shapes, name):
    known = evidence(space, shapes)
    cold, warm = (mean_best(name, space, 4, seen) for seen in ((), known))
    assert warm < cold - 0.1
    assert warm < 2.03  # of a best of 2.00


@pytest.mark.parametrize("name", ["auto", "tpe"])
def test_negated_evidence_is_no_worse_than_random_after_32(space, shapes, name):
    known = evidence(space, shapes, sign=-1)
    drawn = [best(search("random", space, 32, seed=seed)) for seed in SEEDS]
    warm = mean_best(name, space, 32, known)
    assert warm <= np.mean(drawn) + np.std(drawn) / math.sqrt(len(drawn))


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "auto"])
def test_misleading_evidence_costs_other_strategies_one_candidate(space, shapes, name):
    known = evidence(space, shapes, sign=-1)
    chosen = {one.architecture.id for one in sorted(known, key=lambda one: one.value)[:4]}
    history = search(name, space, 12, seed=0, known=known)
    assert sum(seen.architecture_id in chosen for seen in history[:6]) == 1


@pytest.mark.parametrize("name", STRATEGIES)
def test_maximising_is_minimising_the_negative(space, shapes, name):
    least = search(name, space, 12, seed=0, known=evidence(space, shapes))
    negative = evidence(space, shapes, sign=-1)
    most = search(name, space, 12, seed=0, known=negative, sign=-1)
    assert [seen.architecture_id for seen in most] == [seen.architecture_id for seen in least]


@pytest.mark.parametrize("count", [1, 2, 400])
def test_any_amount_of_evidence_will_do(space, shapes, count):
    known = evidence(space, shapes, count=count)
    assert len(search("auto", space, 6, seed=0, known=known)) == 6


def test_without_a_reference_the_evidence_decides_the_first(space, shapes):
    known = evidence(space, shapes)
    strategy = warmed(
        make_strategy("auto", space, seed=0, directions=["minimize"]), known, ["minimize"]
    )
    assert loss_of(space, strategy.propose([], 0)) < 2.1


def test_no_evidence_changes_nothing(space):
    strategy = make_strategy("tpe", space, seed=0, directions=["minimize"])
    assert warmed(strategy, (), ["minimize"]) is strategy
