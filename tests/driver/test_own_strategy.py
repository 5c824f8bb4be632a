"""A strategy of the user's own that does what it must not ends the search in one line."""

import sys
from types import ModuleType

import pytest
from tiny_study import plain_study, write_text

import nas
from nas.config import config_from_plain
from nas.errors import ConfigError
from nas.plugins import allow
from nas.records import Architecture
from nas.strategies import make_strategy
from nas.strategies.random import RandomStrategy


class Again(RandomStrategy):
    """Proposes the first shape that it drew, whatever has been tried."""

    def propose(self, history, number):
        return super().propose([], 1)


class Outside(RandomStrategy):
    """Proposes a shape deeper than the space has any."""

    def propose(self, history, number):
        drawn = super().propose(history, number)
        return Architecture(family=drawn.family, shape={**drawn.shape, "n_layer": 9})


class Plain(RandomStrategy):
    """Proposes the fields of a shape instead of it."""

    def propose(self, history, number):
        return dict(super().propose(history, number).shape)


class Seedless:
    """Cannot be made as strategies are."""

    def __init__(self, space):
        self.space = space

    def propose(self, history, number):
        return None


class Constant(RandomStrategy):
    """Has nothing to call."""

    propose = 3


@pytest.fixture
def named(monkeypatch):
    """Returns the name of a class as the user would give it."""

    def named(kind):
        module = ModuleType("faulty")
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, "faulty", module)
        allow([f"faulty:{kind.__name__}"])
        return f"faulty:{kind.__name__}"

    yield named
    from nas.plugins import import_own

    import_own.cache_clear()


@pytest.mark.parametrize(
    ("kind", "words", "trained"),
    [
        (Again, "again, which has been tried", 2),
        (Outside, "proposed a shape that the space has not", 1),
        (Plain, "proposed dict, expected an Architecture", 1),
    ],
)
def test_a_faulty_proposal_ends_the_search_and_names_the_strategy(
    tmp_path, monkeypatch, named, kind, words, trained
):
    monkeypatch.chdir(tmp_path)
    plain = plain_study(
        write_text(tmp_path / "text.txt"),
        strategy=named(kind),
        per_candidate={"tokens": 512, "eta": 1},
        stop={"candidates": 5},
        finalists={"top": 1, "seeds": 1},
    )
    config = config_from_plain(plain, where="test", name="faulty", trust=True)
    with pytest.raises(ConfigError, match=words) as caught:
        nas.search(config)
    assert kind.__name__ in str(caught.value)
    study = nas.open_study("faulty")
    assert [row.state for row in study.trials()] == ["complete"] * trained


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Seedless, r"cannot be made as Seedless\(space, seed="), (Constant, "'propose' is no method")],
)
def test_a_class_that_is_no_strategy_is_refused(named, kind, words):
    with pytest.raises(ConfigError, match=words):
        make_strategy(named(kind), None, seed=0, directions=["minimize"])
