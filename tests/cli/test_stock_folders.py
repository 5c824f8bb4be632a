"""A user's own stock model on the command line: measured, asked for text, and the shape to beat."""

import json

import pytest
import torch
from stand_ins import write_byte_tokenizer

from nas.study import open_study

SHORT = ("--set", "per_candidate.tokens=512", "--candidates", "1", "--quiet")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A stock Llama whose shape, not whose constants, is in the space of `empty_place`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("own") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            vocab_size=257, max_position_embeddings=32, tie_word_embeddings=True,
            rms_norm_eps=1e-5, eos_token_id=256, bos_token_id=256,
            rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return write_byte_tokenizer(folder, 32)


def test_profile_measures_a_stock_folder(nas, own):
    found = nas("profile", own, "--repeats", "2", "--format", "json")
    assert found.code == 0, found.err
    plain = json.loads(found.out)
    assert plain["shape"] == {
        "d_ff": 48, "d_model": 16, "n_head": 2, "n_layer": 2, "norm_eps": 1e-5,
        "rope_theta": 500_000.0,
    }  # fmt: skip
    assert plain["params"] == 257 * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 48 + 2 * 16) + 16
    assert [row["phase"] for row in plain["latency"]] == ["prefill", "decode", "throughput"]
    shown = nas("profile", own, "--repeats", "2")
    assert f"model folder {own}" in shown.out


def test_generate_goes_on_with_a_stock_folder(nas, own):
    found = nas("generate", own, "--prompt", "so", "--max-new-tokens", "3", "--seed", "0")
    assert found.code == 0, found.err
    assert found.out.startswith("so")


def test_shape_of_a_stock_folder_is_the_reference_of_a_search(nas, own, empty_place):
    found = nas("search", "tiny.yaml", "--reference", own, *SHORT)
    assert found.code == 0, found.err
    study = open_study("tiny")
    shape = {"n_layer": 2, "d_model": 16, "n_head": 2, "d_ff": 48}
    assert study.config["space"]["reference"] == shape
    [reference] = [group for group in study.finalists() if group.is_reference]
    assert all(dict(row.architecture.shape) == shape for row in reference.rows)
    again = nas("search", "tiny", *SHORT)  # the stored shape, without the folder
    assert again.code == 0, again.err
    other = nas("search", "tiny.yaml", *SHORT)
    assert other.code == 2
    assert "space.reference" in other.err


def test_reference_outside_the_space_is_refused(nas, own, empty_place):
    narrow = ("--set", "space.dimensions.n_layer={choices: [1]}")
    found = nas("search", "tiny.yaml", "--reference", own, *narrow)
    assert found.code == 2
    assert f"reference: {own}: n_layer: 2 is not one of 1" in found.err
    found = nas("search", "tiny.yaml", "--reference", own, "--space", "gpt2_tiny")
    assert f"reference: {own}: family: got 'llama', the space is 'gpt2'" in found.err
    found = nas("search", "tiny.yaml", "--reference", empty_place)
    assert found.code == 2
    assert "no model folder: it has neither nas.json nor config.json" in found.err
