"""Stock transformers folders, written by transformers itself, opened as our own are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stand_ins import write_byte_tokenizer
from stock_cases import CASES, NAMES, change_weights, stock_model

import nas
from nas.artifact.golden import golden_inputs
from nas.errors import ArtifactError, InputError
from nas.families.native import MODEL_TYPES
from nas.records import TaskSpec

INPUTS = {
    "ids": "input_ids",
    "mask": "attention_mask",
    "pixels": "pixel_values",
    "decoder_ids": "decoder_input_ids",
}


def logits_of(model: Any, spec: TaskSpec, *, stock: bool = False) -> torch.Tensor:
    inputs = golden_inputs(spec)
    with torch.no_grad():
        if stock:
            return model(**{INPUTS[name]: value for name, value in inputs.items()}).logits
        return model(*inputs.values())


def test_every_model_type_is_tried():
    assert set(CASES) == set(MODEL_TYPES)


@pytest.mark.parametrize("kind", CASES)
def test_stock_folder_gives_the_stock_logits_and_becomes_one_of_ours(kind, folders, tmp_path):
    model = nas.load(folders[kind], device="cpu")
    spec = model.task_spec
    theirs = logits_of(stock_model(kind), spec, stock=True)
    torch.testing.assert_close(logits_of(model, spec), theirs, rtol=0, atol=1e-5)
    if spec.labels:
        assert spec.labels == tuple(NAMES.values())
    assert model.manifest.params == sum(weight.numel() for weight in model.state_dict().values())
    nas.save(model, tmp_path / "ours")
    ours = nas.load(tmp_path / "ours", device="cpu", verify=True)
    assert ours.architecture == model.architecture
    assert torch.equal(logits_of(ours, spec), logits_of(model, spec))


@pytest.mark.parametrize("kind", CASES)
def test_folder_that_we_saved_keeps_the_stock_settings(kind, folders, tmp_path):
    """Where ours also opens in transformers, its logits are those of the user's model."""
    import transformers

    nas.save(model := nas.load(folders[kind], device="cpu"), tmp_path / "ours")
    stock = getattr(transformers, CASES[kind][0] if kind != "mistral" else "MistralForCausalLM")
    again, report = stock.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[name] for name in report), report
    difference = logits_of(again, model.task_spec, stock=True) - logits_of(model, model.task_spec)
    assert difference.abs().max() <= 1e-5


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_shards_in_bfloat16_are_read(kind, tmp_path):
    stock = stock_model(kind).to(torch.bfloat16)
    stock.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert not (tmp_path / "shards/model.safetensors").exists()
    model = nas.load(tmp_path / "shards", device="cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    theirs = logits_of(stock.float(), model.task_spec, stock=True)
    torch.testing.assert_close(logits_of(model, model.task_spec), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
@pytest.mark.parametrize("kind", CASES)
def test_dtype_is_that_of_weights_and_logits(kind, dtype, folders):
    model = nas.load(folders[kind], device="cpu", dtype=dtype)
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert {weight.dtype for weight in model.parameters()} == {wanted}
    found, exact = logits_of(model, model.task_spec), nas.load(folders[kind], device="cpu")
    assert found.dtype == wanted
    torch.testing.assert_close(found.float(), logits_of(exact, model.task_spec), rtol=0.1, atol=0.1)


def test_our_own_folder_has_the_dtype_asked_for(folders, tmp_path):
    model = nas.load(folders["llama"], device="cpu", dtype="bfloat16")
    nas.save(model, tmp_path / "ours")
    ours = nas.load(tmp_path / "ours", device="cpu", dtype="bfloat16", verify=True)
    assert torch.equal(logits_of(ours, ours.task_spec), logits_of(model, ours.task_spec))
    assert len(ours.generate([1, 2], max_new_tokens=3, temperature=0)) <= 5
    for wrong in ("int8", "bf16", torch.int64, 5):
        with pytest.raises(InputError, match=r"dtype: got .* expected float32, bfloat16 or float1"):
            nas.load(tmp_path / "ours", dtype=wrong)


def test_stock_folder_writes_and_speaks_by_its_tokenizer(folders, tmp_path):
    folder = tmp_path / "text"
    stock_model("llama", vocab_size=257, eos_token_id=256).save_pretrained(folder)
    write_byte_tokenizer(folder, 32)
    model = nas.load(folder, device="cpu")
    text = model.generate("so", max_new_tokens=5, temperature=0)
    assert text.startswith("so")
    nas.save(model, tmp_path / "ours")
    ours = nas.load(tmp_path / "ours", device="cpu", verify=True)
    assert ours.generate("so", max_new_tokens=5, temperature=0) == text


def test_greedy_tokens_are_those_of_transformers(folders):
    for kind in ("llama", "mistral", "gpt2"):
        prompt = torch.tensor([[5, 9, 11]])
        model = nas.load(folders[kind], device="cpu")
        theirs = stock_model(kind).generate(
            prompt, max_new_tokens=20, do_sample=False, pad_token_id=0
        )
        assert torch.equal(model.generate(prompt, max_new_tokens=20, temperature=0), theirs)


def test_base_models_of_complete_architectures_open(tmp_path):
    for kind, base in (("gpt2", "GPT2Model"), ("mistral", "MistralModel")):
        whole = stock_model(kind)
        getattr(whole, whole.base_model_prefix).save_pretrained(tmp_path / base)
        model = nas.load(tmp_path / base, device="cpu")
        theirs = logits_of(whole, model.task_spec, stock=True)
        torch.testing.assert_close(logits_of(model, model.task_spec), theirs, rtol=0, atol=1e-5)
    stock_model("llama", "LlamaModel").save_pretrained(tmp_path / "untied")
    with pytest.raises(ArtifactError, match=r"untied: lacks 'lm_head.weight'"):
        nas.load(tmp_path / "untied")


@pytest.mark.parametrize(
    ("kind", "class_name"),
    [
        ("bert", "BertForMaskedLM"),
        ("bert", "BertModel"),
        ("modernbert", "ModernBertForMaskedLM"),
        ("vit", "ViTModel"),
    ],
)
def test_model_without_classification_head_gets_one_when_asked(kind, class_name, tmp_path):
    stock = stock_model(kind, class_name)
    stock.save_pretrained(tmp_path / "base")
    with pytest.raises(ArtifactError, match=r"has no classification head .* nas.load\(FOLDER, lab"):
        nas.load(tmp_path / "base")
    model = nas.load(tmp_path / "base", device="cpu", labels=["a", "b"])
    assert logits_of(model, model.task_spec).shape[1] == 2
    again = nas.load(tmp_path / "base", device="cpu", labels=["a", "b"])
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    prefix = f"{stock.base_model_prefix}."
    written = load_file(tmp_path / "base/model.safetensors").items()
    stored = {name.removeprefix(prefix): weight for name, weight in written}
    trunk = {name.partition(".")[2]: w for name, w in model.state_dict().items()
             if not name.startswith(("classifier", "head", "bert.pooler"))}  # fmt: skip
    assert trunk
    assert all(torch.equal(weight, stored[name]) for name, weight in trunk.items())


def test_labels_are_for_models_without_a_head(folders, tmp_path):
    for kind, message in (("bert", "has a classification head already"), ("gpt2", "that classify")):
        with pytest.raises(InputError, match=message):
            nas.load(folders[kind], labels=["a", "b"])
    for wrong in ("ab", ["a"], ["a", "a"], [1, 2]):
        with pytest.raises(InputError, match=r"^labels: "):
            nas.load(folders["bert"], labels=wrong)
    nas.save(nas.load(folders["bert"], device="cpu"), tmp_path / "ours")
    with pytest.raises(InputError, match="labels: the model has its own"):
        nas.load(tmp_path / "ours", labels=["a", "b"])


def test_verify_needs_hashes(folders):
    with pytest.raises(InputError, match=r"verify: it has no nas.json with hashes"):
        nas.load(folders["bert"], verify=True)


def test_names_and_copies_of_older_files_are_understood(folders, copy):
    def age_bert(state):
        for name in [name for name in state if "LayerNorm" in name]:
            state[name.replace("weight", "gamma").replace("bias", "beta")] = state.pop(name)
        state["bert.embeddings.position_ids"] = torch.arange(32)[None]

    def age_gpt2(state):
        for name in list(state):
            state[name.removeprefix("transformer.")] = state.pop(name)
        state["h.0.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
        state["lm_head.weight"] = state["wte.weight"].clone()

    def age_llama(state):
        state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)

    for kind, age in (("bert", age_bert), ("gpt2", age_gpt2), ("llama", age_llama)):
        folder = copy(kind)
        change_weights(folder, age)
        old, new = nas.load(folder, device="cpu"), nas.load(folders[kind], device="cpu")
        assert torch.equal(logits_of(old, old.task_spec), logits_of(new, new.task_spec))


def test_rotary_base_of_older_configurations_is_read(copy, folders):
    folder = copy("llama", rope_parameters=..., rope_theta=500_000.0, rope_scaling=None)
    assert nas.load(folder).architecture == nas.load(folders["llama"]).architecture
    folder = copy("modernbert", rope_parameters=..., layer_types=..., global_rope_theta=9e4,
                  local_rope_theta=5e3, global_attn_every_n_layers=2)  # fmt: skip
    assert nas.load(folder).architecture == nas.load(folders["modernbert"]).architecture
