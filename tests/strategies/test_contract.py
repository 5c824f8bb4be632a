"""What every strategy keeps to, the user's own included."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from nas.errors import NotFoundError
from nas.plugins import allow
from nas.records import FAILED_STATES, TaskSpec
from nas.space import SearchSpace
from nas.strategies import STRATEGIES, Observation, make_strategy

OWN = '''
"""A strategy that stands outside nas."""


class Smallest:
    """The smallest new shape first."""

    def __init__(self, space, *, seed, directions):
        self.space = space

    def propose(self, history, number):
        known = {seen.architecture_id for seen in history}
        new = [one for one in self.space.architectures() if one.id not in known]
        return min(new, key=lambda one: self.space.columns(one)["params"], default=None)
'''
HOUSE = "house.mine:Smallest"
# gp takes a second a proposal.
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n == "gp" else n for n in (*STRATEGIES, HOUSE)]

SMALL = {
    "n_layer": {"min": 1, "max": 3},
    "d_model": {"choices": [16, 32, 48]},
    "n_head": {"choices": [1, 2]},
    "d_ff": {"choices": [32, 64]},
}
WIDE = {
    "n_layer": {"min": 1, "max": 6},
    "d_model": {"choices": [16, 32, 48, 64, 80, 96]},
    "n_head": {"choices": [1, 2, 4]},
    "d_ff": {"min": 32, "max": 256, "step": 16},
}
PER_LAYER = {
    **SMALL,
    "n_kv_head": {"choices": [1, 2], "per_layer": "free"},
    "d_ff": {"min": 32, "max": 96, "step": 32, "per_layer": True},
}
ONE_SHAPE = {name: {"choices": [32]} for name in ("d_model", "d_ff")} | {
    "n_layer": {"choices": [2]},
    "n_head": {"choices": [2]},
}


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    """A package of the user's in the folder where nas was started."""
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    allow([HOUSE])


def bind(dimensions, **constraints):
    plain = {"format_version": 1, "family": "llama", "dimensions": dimensions}
    space = SearchSpace.from_plain(plain | {"constraints": constraints}, where="x.yaml")
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)
    return space.bind(spec, context=64, batch=8)


def loss_of(space, architecture):
    """A loss with its best at a middle size and a mild taste in shape."""
    size = math.log(space.columns(architecture)["non_embedding_params"] / 2e4)
    return 2 + 0.1 * size**2 + 0.05 * abs(architecture.shape["n_layer"] - 3)


def observe(space, architecture, number, *, objectives=1, sign=1, state="complete"):
    columns = space.columns(architecture)
    values = (sign * loss_of(space, architecture), columns["params"])[:objectives]
    done = state == "complete"
    return Observation(
        number=number,
        architecture_id=architecture.id,
        parameters=space.space.encode(architecture),
        state=state,
        values=values if done else None,
        columns=columns,
        rungs=((1000, tuple(value + 0.5 for value in values)),) if state == "paused" else (),
    )


def every(state):
    return lambda number: state


def complete(number):
    return "complete"


def search(name, space, count, *, seed=0, directions=("minimize",), state_of=complete):
    """Propose and observe up to `count` candidates; a new strategy object for each of them."""
    sign = -1 if directions[0] == "maximize" else 1
    history = []
    while len(history) < count:
        strategy = make_strategy(name, space, seed=seed, directions=directions)
        found = strategy.propose(history, len(history))
        if found is None:
            break
        history.append(
            observe(
                space,
                found,
                len(history),
                objectives=len(directions),
                sign=sign,
                state=state_of(len(history)),
            )
        )
    return history


def ids(history):
    return [seen.architecture_id for seen in history]


def assert_feasible_and_new(space, history):
    assert len(set(ids(history))) == len(history)
    for seen in history:
        found = space.space.decode(seen.parameters)
        assert found.id == seen.architecture_id
        assert space.feasible(found)


def mixed(number):
    """Of every kind of state, but mostly complete."""
    others = {3: "running", 5: "paused", 7: "interrupted", 8: "paused"}
    others |= dict(zip((4, 9, 10, 11), sorted(FAILED_STATES), strict=True))
    return others.get(number % 16, "complete")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dimensions", [WIDE, PER_LAYER], ids=["wide", "per_layer"])
def test_proposals_are_feasible_and_new(name, dimensions):
    space = bind(dimensions, max_params=40_000, min_params=8_000)
    history = search(name, space, 24)
    assert len(history) == 24
    assert_feasible_and_new(space, history)


@pytest.mark.parametrize("name", NAMES)
def test_seed_number_and_history_decide_a_proposal(name):
    space, directions = bind(WIDE), ["minimize"]
    history = search(name, space, 20)
    one = make_strategy(name, space, seed=3, directions=directions)
    for earlier in (0, 5, 20):  # what an object was asked before does not count
        one.propose(history[:earlier], earlier)
    again = make_strategy(name, bind(WIDE), seed=3, directions=directions)
    assert one.propose(history, 20) == again.propose(history, 20)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "auto"])
def test_another_seed_gives_another_first_proposal(name):
    space = bind(WIDE)
    assert len({search(name, space, 1, seed=seed)[0].architecture_id for seed in range(5)}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_search_proposes_as_an_uninterrupted_one(name):
    space = bind(WIDE)
    whole = make_strategy(name, space, seed=0, directions=["minimize"])
    history = []
    while len(history) < 20:
        found = whole.propose(history, len(history))
        history.append(observe(space, found, len(history), state=mixed(len(history))))
    assert ids(search(name, bind(WIDE), 20, state_of=mixed)) == ids(history)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_space_is_exhausted_completely(name):
    space = bind(SMALL, max_params=30_000)
    history = search(name, space, 100)
    assert set(ids(history)) == {architecture.id for architecture in space.architectures()}
    assert len(history) == space.count()


@pytest.mark.parametrize("name", NAMES)
def test_a_space_of_one_shape_gives_it_and_then_nothing(name):
    assert len(search(name, bind(ONE_SHAPE), 5)) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", ["running", "paused", "interrupted", *sorted(FAILED_STATES)])
def test_candidates_that_did_not_complete_are_no_obstacle(name, state):
    space = bind(WIDE)
    history = search(name, space, 18, state_of=every(state))
    assert len(history) == 18
    assert_feasible_and_new(space, history)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "directions", [("minimize", "minimize"), ("maximize", "minimize")], ids="-".join
)
def test_several_objectives_of_candidates_of_every_state(name, directions):
    space = bind(WIDE, max_params=100_000)
    history = search(name, space, 26, directions=directions, state_of=mixed)
    assert len(history) == 26
    assert_feasible_and_new(space, history)


@pytest.mark.parametrize("name", NAMES)
def test_maximising_is_minimising_the_negative(name):
    space = bind(WIDE)
    least = search(name, space, 22)
    most = search(name, space, 22, directions=("maximize",))
    assert [seen.values[0] for seen in most] == [-seen.values[0] for seen in least]


@pytest.mark.parametrize("name", NAMES)
def test_equal_results_teach_nothing_and_break_nothing(name):
    space = bind(WIDE)
    history = [replace(seen, values=(1.0,)) for seen in search(name, space, 20)]
    found = make_strategy(name, space, seed=0, directions=["minimize"]).propose(history, 20)
    assert found.id not in ids(history)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_hundred_candidates(name):
    count = 200 if name != "gp" else 40  # which takes seconds a proposal there
    space = bind(WIDE, max_params=200_000)
    history = search(name, space, count)
    assert len(history) == count
    assert_feasible_and_new(space, history)


def test_gp_without_scipy_says_what_to_install():
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from nas.strategies import make_strategy\n"
        "make_strategy('gp', None, seed=0, directions=['minimize'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "NotFoundError: strategy 'gp' needs scipy" in run.stderr
    assert 'pip install "transformer-nas[gp]"' in run.stderr


def test_an_unknown_strategy_is_refused_with_the_nearest_name():
    with pytest.raises(NotFoundError, match=r"unknown strategy 'evolutoin'.*'evolution'"):
        make_strategy("evolutoin", bind(SMALL), seed=0, directions=["minimize"])
