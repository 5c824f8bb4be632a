import copy

import pytest

from nas.records import TaskSpec
from nas.space import SearchSpace

PLAIN = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"head_dim": 32},
    "dimensions": {
        "n_layer": {"min": 2, "max": 8},
        "d_model": {"choices": [64, 96, 128]},
        "n_head": {"min": 2, "max": 8},
        "d_ff": {"min": 128, "max": 1024, "step": 64, "per_layer": True},
    },
    "constraints": {"max_params": 2000000},
    "reference": {"n_layer": 4, "d_model": 128, "n_head": 4, "d_ff": 384},
}


@pytest.fixture
def plain():
    """Return the plain content of a good space, free to be spoilt."""
    return copy.deepcopy(PLAIN)


@pytest.fixture
def spec():
    return TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)


@pytest.fixture
def bind(spec):
    """Return a function that binds a llama space of some dimensions and constraints."""

    def make(dimensions, constraints=None, fixed=None):
        plain = {"format_version": 1, "family": "llama", "dimensions": dimensions}
        plain |= {"constraints": constraints or {}, "fixed": fixed or {}}
        space = SearchSpace.from_plain(plain, where="x.yaml")
        return space.bind(spec, context=64, batch=8)

    return make
