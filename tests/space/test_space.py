from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NotFoundError, ShapeError
from nas.families import architecture
from nas.records import TaskSpec
from nas.space import SearchSpace, load_space, shipped_spaces

SHIPPED = Path(__file__).parents[2] / "search_spaces"
SPEC = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=256)
BOUND = {name: load_space(name).bind(SPEC, context=64, batch=12) for name in shipped_spaces()}


def make(dimensions, **rest):
    plain = {"format_version": 1, "family": "llama", "dimensions": dimensions, **rest}
    return SearchSpace.from_plain(plain, where="x.yaml")


def test_every_file_of_the_folder_is_shipped():
    assert shipped_spaces() == sorted(path.stem for path in SHIPPED.iterdir())


@pytest.mark.parametrize("name", shipped_spaces())
@pytest.mark.parametrize("context", [64, 256])
def test_shipped_space_binds_with_a_feasible_reference(name, context):
    space = load_space(name)
    bound = space.bind(SPEC, context=context, batch=12)
    assert space.description
    assert space.reference is not None
    assert bound.feasible(space.reference)


@pytest.mark.parametrize("name", shipped_spaces())
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_decode_undoes_encode_for_draws(name, seed):
    bound = BOUND[name]
    drawn = bound.sample(np.random.default_rng(seed))
    params = bound.space.encode(drawn)
    assert [p.name for p in bound.space.parameters] == list(params)
    assert bound.space.decode(params) == drawn
    assert bound.feasible(drawn)


@pytest.mark.parametrize("name", shipped_spaces())
def test_plain_round_trip_gives_an_equal_space(name):
    space = load_space(name)
    again = SearchSpace.from_plain(space.to_plain(), where="study")
    assert again == space
    assert again.to_plain() == space.to_plain()


def test_choices_are_indexes_and_ranges_are_values():
    space = load_space("llama_small")
    params = {p.name: (p.low, p.high, p.step) for p in space.parameters}
    assert list(params)[:2] == ["n_layer", "d_model_index"]
    assert params["d_model_index"] == (0, 5, 1)
    assert params["d_ff"] == (128, 768, 32)


def test_key_value_heads_equal_to_heads_encode_though_the_record_leaves_them_out():
    space = load_space("llama_small")
    assert "n_kv_head" not in space.reference.shape
    assert space.encode(space.reference)["n_kv_head_index"] == 2


def test_first_and_last_are_interpolated_and_snapped():
    space = make(
        {
            "n_layer": {"min": 1, "max": 4},
            "d_ff": {"min": 64, "max": 256, "step": 64, "per_layer": True},
        },
        fixed={"d_model": 64, "n_head": 4},
    )
    params = {"n_layer": 4, "d_ff_first": 64, "d_ff_last": 192}
    assert space.decode(params).shape["d_ff"] == (64, 128, 128, 192)
    assert space.encode(space.decode(params)) == params
    falling = space.decode({"n_layer": 3, "d_ff_first": 192, "d_ff_last": 64})
    assert falling.shape["d_ff"] == (192, 128, 64)
    with pytest.raises(ShapeError, match=r"d_ff: .* is outside the space"):
        space.encode(architecture("llama", n_layer=3, d_model=64, n_head=4, d_ff=(64, 64, 192)))


def test_free_layers_beyond_the_depth_encode_to_their_lowest():
    space = make(
        {"n_layer": {"min": 1, "max": 3}, "d_ff": {"choices": [8, 16], "per_layer": "free"}},
        fixed={"d_model": 64, "n_head": 4},
    )
    params = {"n_layer": 2, "d_ff_0_index": 0, "d_ff_1_index": 1, "d_ff_2_index": 1}
    shape = space.decode(params)
    assert shape.shape["d_ff"] == (8, 16)
    assert space.encode(shape) == {**params, "d_ff_2_index": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 9}, "n_layer: 9 is not one of 1, 2"),
        ({"d_model": 50, "head_dim": 16}, "d_model: 50 is not one of 32, 48"),
        ({"head_dim": 32}, "head_dim: 32 is outside the space"),
        ({"d_ff": (64, 96, 64)}, "d_ff: 64, 96, 64 differs between layers"),
    ],
)
def test_encode_outside_the_space_names_the_field(change, message):
    fields = {"n_layer": 3, "d_model": 64, "n_head": 4, "d_ff": 192} | change
    with pytest.raises(ShapeError, match=message):
        load_space("llama_tiny").encode(architecture("llama", **fields))


def test_decode_refuses_missing_and_out_of_range_parameters():
    space = load_space("llama_tiny")
    good = space.encode(space.reference)
    with pytest.raises(ShapeError, match="d_ff: got 70, expected 64 to 384 in steps of 32"):
        space.decode(good | {"d_ff": 70})
    with pytest.raises(ShapeError, match="n_layer: missing"):
        space.decode({k: v for k, v in good.items() if k != "n_layer"})


def test_load_prefers_a_file_then_the_folder_here_then_what_is_shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_space("llama_tiny").where == "search_spaces/llama_tiny.yaml"
    Path("search_spaces").mkdir()
    text = (SHIPPED / "llama_small.yaml").read_text(encoding="utf-8")
    Path("search_spaces/llama_tiny.yaml").write_text(text, encoding="utf-8")
    Path("own.yaml").write_text(text, encoding="utf-8")
    small = load_space(SHIPPED / "llama_small.yaml")
    assert load_space("llama_tiny") == load_space("own.yaml") == small
    assert load_space("own.yaml").name == "own"


def test_load_of_an_unknown_name_lists_what_there_is():
    with pytest.raises(NotFoundError, match=r"'llama_tinny': .*llama_base.*did you mean 'llama_t"):
        load_space("llama_tinny")
