import time

import numpy as np
import pytest

from nas.errors import ConfigError
from nas.families import architecture, shape_class
from nas.space import SearchSpace
from nas.space.feasible import Feasibility

TWENTY = {
    "n_layer": {"min": 1, "max": 2},
    "d_model": {"choices": [16, 24]},
    "n_head": {"choices": [1, 2, 3, 4, 5]},
}
MIXED = {
    "n_layer": {"min": 1, "max": 3},
    "n_kv_head": {"choices": [1, 2, 3], "per_layer": "free"},
    "d_model": {"choices": [8, 12, 16, 24]},
    "d_ff": {"min": 8, "max": 24, "step": 8, "per_layer": True},
    "n_head": {"choices": [1, 2, 3, 4]},
    "tied": {"choices": [False, True]},
}
LIMITS = [
    {},
    {"max_params": 9000},
    {"min_params": 8000, "max_params": 10000},
    {"min_train_memory_bytes": 3e6},
    {"max_flops_per_token": 20000, "min_params": 5500},
]


def draw_probabilities(shapes):
    """Return each shape's chance when slots are drawn in turn among those that lead on."""
    chances = {}
    for shape in shapes:
        chance = 1.0
        for slot in range(len(shape)):
            chance /= len({s[slot] for s in shapes if s[:slot] == shape[:slot]})
        chances[shape] = chance
    return chances


def test_draws_of_a_space_of_twenty_follow_the_stated_distribution(bind):
    bound = bind(TWENTY, {"max_params": 13000}, {"d_ff": 16})
    shapes = [
        (a.shape["n_layer"], a.shape["d_model"], a.shape["n_head"]) for a in bound.architectures()
    ]
    expected = draw_probabilities(shapes)
    assert bound.size() == 20
    assert len(set(expected.values())) > 1
    rng = np.random.default_rng(0)
    seen = dict.fromkeys(expected, 0)
    for _ in range(10_000):
        shape = bound.sample(rng).shape
        seen[shape["n_layer"], shape["d_model"], shape["n_head"]] += 1
    statistic = sum((seen[s] - 1e4 * p) ** 2 / (1e4 * p) for s, p in expected.items())
    # Wilson and Hilferty's approximation of the chi-square quantile at .999 (normal: 3.0902).
    freedom = len(expected) - 1
    spread = 2 / (9 * freedom)
    assert statistic < freedom * (1 - spread + 3.0902 * spread**0.5) ** 3


def test_one_feasible_shape_in_a_million_is_found_in_seconds(bind):
    wanted = architecture("llama", n_layer=5, d_model=128, n_head=4, head_dim=32, d_ff=4008)
    dimensions = {
        "n_layer": {"min": 1, "max": 10},
        "d_model": {"min": 32, "max": 320, "step": 32},
        "n_head": {"min": 1, "max": 10},
        "d_ff": {"min": 8, "max": 8000, "step": 8},
    }
    exact = {"params": 8057344, "flops_per_token": 16275712}
    limits = {f"{side}_{k}": v for side in ("min", "max") for k, v in exact.items()}
    start = time.perf_counter()
    bound = bind(dimensions, limits, {"head_dim": 32})
    assert bound.sample(np.random.default_rng(0)) == wanted
    assert time.perf_counter() - start < 5
    assert (bound.size(), bound.count()) == (1_000_000, 1)
    assert bound.nearest({p.name: p.high for p in bound.space.parameters}) == wanted


@pytest.fixture
def engine(spec):
    """Return a function that makes an engine which splits boxes of more shapes than a block."""

    def make(constraints, block):
        plain = {"format_version": 1, "family": "llama", "dimensions": MIXED}
        space = SearchSpace.from_plain(plain | {"constraints": constraints}, where="x.yaml")
        options = {"context": 64, "batch": 8, "block": block}
        return Feasibility(shape_class("llama"), space.layout, space.constraints, spec, **options)

    return make


@pytest.mark.parametrize("constraints", LIMITS, ids=str)
def test_draws_by_bounds_and_splits_equal_those_by_looking_at_every_shape(engine, constraints):
    by_looking, by_splits = engine(constraints, 1 << 15), engine(constraints, 12)
    assert by_splits.depths == by_looking.depths != []
    first, again = np.random.default_rng(0), np.random.default_rng(0)
    assert all(by_splits.draw(first) == by_looking.draw(again) for _ in range(25))


def test_the_order_by_distance_is_right_and_misses_none(engine):
    some = engine({"min_params": 8000, "max_params": 9000}, 200)
    target = {d: tuple(n - 1 for n in some.layout.sizes(d)) for d in some.layout.depths}
    good = {
        (depth, tuple(int(i[at]) for i in indexes))
        for depth in some.layout.depths
        for indexes, _, feasible in some.blocks(depth)
        for at in np.flatnonzero(feasible)
    }
    found = list(some.by_distance(1, target))
    steps = [
        abs(depth - 1) + sum(abs(a - b) for a, b in zip(chosen, target[depth], strict=True))
        for depth, chosen in found
    ]
    assert set(found) == good
    assert len(found) == len(good)
    assert steps == sorted(steps)


def test_nearest_goes_outwards_until_the_space_is_exhausted(bind):
    bound = bind(TWENTY, {"max_params": 13000}, {"d_ff": 16})
    params = {"n_layer": 2, "d_model_index": 1, "n_head_index": 4}
    seen = []
    while (found := bound.nearest(params, exclude={a.id for a in seen})) is not None:
        seen.append(found)
    assert {a.id for a in seen} == {a.id for a in bound.architectures()}
    assert len(seen) == bound.count()
    assert bound.nearest(bound.space.encode(seen[3])) == seen[3]


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ({"max_params": 100}, "constraints: max_params 100 rules out every shape"),
        (
            {"max_params": 6000, "max_flops_per_token": 1e9, "min_train_memory_bytes": 1e9},
            "constraints: min_train_memory_bytes 1000000000 rules out",
        ),
        (
            {"max_params": 7000, "min_flops_per_token": 20000, "max_train_memory_bytes": 1e12},
            "max_params 7000 and min_flops_per_token 20000 together rule out every shape",
        ),
    ],
)
def test_an_empty_space_is_refused_with_what_rules_everything_out(bind, constraints, message):
    with pytest.raises(ConfigError, match=rf"^x\.yaml: .*{message}"):
        bind(TWENTY, constraints, {"d_ff": 16})


def test_a_space_that_the_family_cannot_build_is_refused(bind):
    with pytest.raises(ConfigError, match="no shape obeys the rules of family 'llama'"):
        bind(TWENTY | {"d_model": {"choices": [13, 17]}}, {"max_params": 10**9}, {"d_ff": 16})


def test_a_reference_that_breaks_a_constraint_is_refused(plain, spec):
    plain["constraints"] = {"max_params": 250000}
    space = SearchSpace.from_plain(plain, where="x.yaml")
    with pytest.raises(ConfigError, match="reference: params is 886,016, above max_params 250,000"):
        space.bind(spec, context=64, batch=8)


def test_why_infeasible_names_the_constraint_or_the_field(bind):
    bound = bind(TWENTY, {"max_params": 13000}, {"d_ff": 16})
    big = architecture("llama", n_layer=2, d_model=24, n_head=1, d_ff=16)
    outside = architecture("llama", n_layer=3, d_model=24, n_head=1, d_ff=16)
    assert bound.why_infeasible(big).startswith("params is ")
    assert bound.why_infeasible(outside).startswith("n_layer: 3 is not one of")
    assert not bound.feasible(big)


def test_describe_is_exact_where_every_shape_can_be_looked_at(bind):
    bound = bind(TWENTY, {"max_params": 13000}, {"d_ff": 16})
    told = bound.describe(np.random.default_rng(0))
    assert told["exact"]
    assert (
        told["feasible"]
        == len(list(bound.architectures()))
        == round(told["feasible_share"] * told["shapes"])
    )
    assert told["params"][1] <= 13000


def test_describe_estimates_where_there_are_too_many_shapes(bind):
    dimensions = {
        "n_layer": {"min": 2, "max": 8},
        "d_model": {"choices": [64, 128]},
        "d_ff": {"min": 64, "max": 512, "step": 64, "per_layer": "free"},
    }
    bound = bind(dimensions, {"max_params": 700_000}, {"n_head": 4})
    told = bound.describe(np.random.default_rng(0))
    assert (told["exact"], told["feasible"]) == (False, None)
    assert 0 < told["feasible_share"] < 1
    assert told["params"][0] < told["params"][1] <= 700_000


def test_the_same_seed_draws_the_same_shapes(bind):
    first, again = (bind(MIXED, {"max_params": 9000}) for _ in range(2))
    draws = [
        [bound.sample(rng).id for _ in range(20)]
        for bound, rng in ((first, np.random.default_rng(3)), (again, np.random.default_rng(3)))
    ]
    assert draws[0] == draws[1]


def test_more_tokens_a_step_than_64_bits_can_count_bytes_for_are_refused(plain, spec):
    space = SearchSpace.from_plain(plain, where="x.yaml")
    with pytest.raises(ConfigError, match="expected at most 67108864 tokens"):
        space.bind(spec, context=1 << 20, batch=1 << 10)
