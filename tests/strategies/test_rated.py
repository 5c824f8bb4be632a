"""Strategies over a space with the rate as a further dimension."""

import math

import pytest

from nas.records import TaskSpec
from nas.space import RatedSpace, SearchSpace
from nas.space.rated import AUTOMATIC, FACTORS, INDEX
from nas.strategies import STRATEGIES, Observation, make_strategy

DIMENSIONS = {
    "n_layer": {"min": 1, "max": 4},
    "d_model": {"choices": [16, 32, 48, 64]},
    "n_head": {"choices": [1, 2]},
    "d_ff": {"min": 32, "max": 128, "step": 32},
}


def rated(dimensions=DIMENSIONS, **constraints):
    plain = {"format_version": 1, "family": "llama", "dimensions": dimensions}
    space = SearchSpace.from_plain(plain | {"constraints": constraints}, where="x.yaml")
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)
    return RatedSpace(space.bind(spec, context=64, batch=8), 0.01)


def loss_of(space, point):
    """Best at a middle size and at twice the automatic rate."""
    shape, rate = space.split(point)
    size = math.log(space.columns(point)["non_embedding_params"] / 4e4)
    assert "rate_index" not in shape.shape
    return 2 + 0.1 * size**2 + 0.1 * math.log2(rate / 0.02) ** 2


def search(name, space, count, seed=0):
    history = []
    while len(history) < count:
        strategy = make_strategy(name, space, seed=seed, directions=["minimize"])
        point = strategy.propose(history, len(history))
        if point is None:
            break
        history.append(
            Observation(
                number=len(history),
                architecture_id=point.id,
                parameters=space.space.encode(point),
                state="complete",
                values=(loss_of(space, point),),
                columns=space.columns(point),
            )
        )
    return history


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "gp"])
def test_points_are_feasible_new_and_at_several_rates(name):
    space = rated(max_params=80_000)
    history = search(name, space, 24)
    assert len({seen.architecture_id for seen in history}) == 24
    assert len({seen.parameters[INDEX] for seen in history}) > 2
    for seen in history:
        point = space.space.decode(seen.parameters)
        assert point.id == seen.architecture_id
        assert space.feasible(point)


@pytest.mark.parametrize("name", ["auto", "random", "evolution"])
def test_a_small_space_is_exhausted_with_every_rate(name):
    few = {key: {"choices": [value]} for key, value in (("d_model", 32), ("d_ff", 32))}
    space = rated(few | {"n_layer": {"min": 1, "max": 2}, "n_head": {"choices": [2]}})
    history = search(name, space, 100)
    assert len(history) == space.count() == 2 * len(FACTORS)


def best_of(name, space, seed):
    return min(search(name, space, 28, seed), key=lambda seen: seen.values)


def test_auto_finds_shape_and_rate():
    space = rated()
    found = {name: [best_of(name, space, seed) for seed in range(3)] for name in ("auto", "random")}
    for best in found["auto"]:
        assert best.values[0] < 2.01
        assert abs(best.parameters[INDEX] - AUTOMATIC - 2) <= 1
    auto, drawn = (sum(best.values[0] for best in several) for several in found.values())
    assert auto < drawn


def test_without_results_auto_takes_about_the_automatic_rate():
    [first] = search("auto", rated(), 1)
    assert abs(first.parameters[INDEX] - AUTOMATIC) <= 1


@pytest.mark.parametrize("factor", FACTORS)
def test_point_and_split_are_inverse(factor):
    space = rated()
    shape, _ = space.split(next(space.architectures()))
    found, rate = space.split(space.point(shape, 0.01 * factor))
    assert found == shape
    assert rate == pytest.approx(0.01 * factor)
    assert space.split(space.point(shape, rate)) == (shape, rate)
