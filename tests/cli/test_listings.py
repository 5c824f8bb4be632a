"""`nas spaces`, `nas families`, `nas tasks`."""

import json

import pytest

from nas.space import shipped_spaces


def test_spaces_are_listed(nas):
    found = nas("spaces")
    assert found.code == 0
    assert all(name in found.out for name in shipped_spaces())
    assert max(map(len, found.out.splitlines())) <= 80


def test_spaces_as_json_are_exact(nas):
    rows = {row["name"]: row for row in json.loads(nas("spaces", "--format", "json").out)}
    assert rows["llama_tiny"]["shapes"] == 1320
    assert rows["llama_tiny"]["params"] == [30848, 299904]


def test_one_space_shows_its_sizes_dimensions_and_constraints(nas):
    found = nas("spaces", "llama_tiny", "--context", "32")
    assert found.code == 0
    for words in (
        "1,320",
        "74.09% (978)",
        "30.8k to 300k",
        "context 32",
        "max_params 300k",
        "d_ff",
    ):
        assert words in found.out
    plain = json.loads(nas("spaces", "llama_tiny", "--format", "json").out)
    assert plain["dimensions"]["n_layer"] == {"min": 1, "max": 6, "step": 1}


def test_space_that_its_vocabulary_empties_is_refused(nas):
    found = nas("spaces", "llama_tiny", "--vocab-size", "1000000")
    assert found.code == 2
    assert "constraints: max_params 300000 rules out every shape" in found.err


def test_space_file_with_an_unknown_key_is_refused(nas, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("format_version: 1\nfamily: llama\ndimension: {}\n")
    found = nas("spaces", file)
    assert found.code == 2
    assert "bad.yaml" in found.err
    assert len(found.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "name"), [("families", "llama"), ("tasks", "language_modeling")]
)
def test_listing_comes_in_every_format(nas, command, name):
    assert name in nas(command).out
    assert name in nas(command, "--format", "csv").out.splitlines()[1]
    assert name in json.loads(nas(command, "--format", "json").out)[0].values()


def test_families_name_their_fields_alone(nas):
    fields = json.loads(nas("families", "--format", "json").out)[0]["fields"]
    assert fields[:3] == ["n_layer", "d_model", "n_head"]
    assert "description" not in fields
