import pytest

from nas.errors import ConfigError
from nas.space import SearchSpace


def put(plain, path, value):
    """Set the value at a dotted path; `...` deletes it."""
    *folders, last = path.split(".")
    for folder in folders:
        plain = plain[folder]
    if value is ...:
        del plain[last]
    else:
        plain[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format_version", 2, "format_version: got 2, .*install a newer nas"),
        ("format_version", ..., "format_version: missing"),
        ("family", "lama", "family: unknown family 'lama'; .*did you mean 'llama'"),
        ("colour", "red", "colour: unknown key"),
        ("dimensions", ..., "dimensions: missing"),
        ("dimensions.n_head", ..., "dimensions.n_head: missing; give it here or under fixed"),
        ("dimensions.n_haed", {"min": 1, "max": 2}, "n_haed: no such field; .*'n_head'"),
        ("dimensions.n_head", 4, r"n_head: got 4 \(int\), expected a mapping"),
        ("dimensions.n_head.max", "1e1", r"n_head.max: got '1e1' \(str\), .*write 10$"),
        ("dimensions.n_head.max", ..., "n_head.max: missing"),
        ("dimensions.n_head.min", 9, "n_head.min: got 9, above max 8; swap them"),
        ("dimensions.n_head.min", 0, "n_head.min: got 0 .*expected an integer 1 to"),
        ("dimensions.n_head.min", True, r"n_head.min: got true \(bool\)"),
        ("dimensions.n_head.stepp", 2, "stepp: unknown key; .*did you mean 'step'"),
        ("dimensions.n_head.per_layer", True, "n_head is one for all layers; .*d_ff, n_kv_head"),
        ("dimensions.d_ff.step", 60, "steps of 60 from 128 never land on max 1024; write max 968"),
        ("dimensions.d_ff.per_layer", "fre", "got 'fre' .*expected true, false or free"),
        ("dimensions.d_model.choices", [], "choices: got 0 values"),
        ("dimensions.d_model.choices", 64, r"choices: got 64 \(int\), expected a list"),
        ("dimensions.d_model.choices", [64, 64], r"choices\[1\]: got 64 after 64, expected each"),
        ("dimensions.d_model.choices", [96, 64], r"choices\[1\]: got 64 after 96"),
        ("dimensions.d_model.choices", [64, 96.0], r"choices\[1\]: got 96.0 .*write 96"),
        ("dimensions.d_model.min", 64, "min: not together with choices"),
        ("dimensions.tied", {"min": 1, "max": 2}, r"tied.choices: missing; .*\[false, true\]"),
        ("dimensions.tied", {"choices": [0, 1]}, r"tied.choices\[0\]: got 0 .*true or false"),
        ("fixed.n_head", 4, "dimensions.n_head: also in fixed"),
        ("fixed.head_dim", True, r"fixed.head_dim: got true \(bool\)"),
        ("fixed.hat", 1, "fixed.hat: no such field"),
        ("draw_order", ["n_layer"], "draw_order: expected each of n_layer, d_model"),
        ("constraints.max_parms", 1, "max_parms: unknown .*did you mean 'max_params'"),
        ("constraints.max_params", "2e6", "max_params: got '2e6' .*write 2000000"),
        ("constraints.min_params", 3e6, "min_params: got 3000000, above max_params 2000000"),
        ("reference.n_head", 9, "reference: n_head: 9 is not one of 2, 3, 4"),
        ("reference.n_layer", 9, "reference: n_layer: 9 is not one of 2"),
        ("reference.n_head", ..., "reference.n_head: missing"),
        ("reference.head_dim", 64, "reference.head_dim: got 64, but the space fixes 32"),
        ("reference.tied", False, "reference: tied: False is outside the space"),
        ("reference.n_kv_head", 2, "reference: n_kv_head: 2 is outside the space"),
        ("reference.n_kv_head", 3, "reference: llama: n_kv_head: 3 does not divide n_head 4"),
        ("reference.d_ff", [128, 512, 512, 128], "reference: d_ff: .* is outside the space"),
        ("reference.d_ff", [128, 192], "reference: llama: d_ff: 2 numbers for 4 layers"),
    ],
)
def test_a_wrong_space_is_refused_with_its_place(plain, path, value, message):
    put(plain, path, value)
    with pytest.raises(ConfigError, match=rf"^x\.yaml: .*{message}"):
        SearchSpace.from_plain(plain, where="x.yaml")


def test_free_layers_are_refused_beyond_a_sensible_depth(plain):
    plain["dimensions"]["n_layer"]["max"] = 65
    plain["dimensions"]["d_ff"]["per_layer"] = "free"
    with pytest.raises(ConfigError, match=r"d_ff\.per_layer: free for 65 layers, at most 64"):
        SearchSpace.from_plain(plain, where="x.yaml")


def test_the_order_of_dimensions_survives_a_store_that_sorts_keys(plain):
    space = SearchSpace.from_plain(plain, where="x.yaml")
    stored = space.to_plain()
    stored["dimensions"] = dict(sorted(stored["dimensions"].items()))
    again = SearchSpace.from_plain(stored, where="study")
    assert again == space
    assert [p.name for p in again.parameters] == [p.name for p in space.parameters]
