"""Stock transformers folders, written by transformers itself, opened as our own are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stand_ins import write_byte_tokenizer

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
BLOCKS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT = {**BLOCKS, "vocab_size": 61, "intermediate_size": 24, "max_position_embeddings": 32}
NAMES = {0: "no", 1: "maybe", 2: "yes"}
# Of each model type a configuration that differs from what our own writer puts in.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "LlamaForCausalLM",
        TEXT | {"num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    ),
    "mistral": (
        "MistralForCausalLM",
        TEXT | {"head_dim": 6, "num_key_value_heads": 1, "sliding_window": 32,
                "tie_word_embeddings": True, "rms_norm_eps": 1e-5},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32, "vocab_size": 61,
         "layer_norm_epsilon": 1e-2, "bos_token_id": 3, "eos_token_id": 4},
    ),
    "bert": (
        "BertForSequenceClassification", TEXT | {"layer_norm_eps": 1e-2, "id2label": NAMES},
    ),
    "modernbert": (
        "ModernBertForSequenceClassification",
        TEXT | {"num_hidden_layers": 5, "layer_types": ["full_attention", "sliding_attention"] * 2
                + ["full_attention"], "local_attention": 6, "norm_eps": 1e-2, "id2label": NAMES,
                "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 9e4},
                                    "sliding_attention": {"rope_type": "default",
                                                          "rope_theta": 5e3}},
                **dict.fromkeys(("bos_token_id", "cls_token_id"), 1), "pad_token_id": 0,
                **dict.fromkeys(("eos_token_id", "sep_token_id"), 2)},
    ),
    "vit": (
        "ViTForImageClassification",
        BLOCKS | {"intermediate_size": 24, "image_size": 10, "patch_size": 4, "num_channels": 1,
                  "layer_norm_eps": 1e-2, "id2label": NAMES},
    ),
    "blenderbot": (
        "BlenderbotForConditionalGeneration",
        {"vocab_size": 61, "d_model": 16, "encoder_layers": 1, "decoder_layers": 2,
         "encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": 24,
         "decoder_ffn_dim": 20, "scale_embedding": True, "max_position_embeddings": 32,
         "decoder_start_token_id": 5},
    ),
}  # fmt: skip


def stock_model(kind: str, class_name: str | None = None, **changes: Any) -> Any:
    import transformers

    usual, settings = CASES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **{**settings, **changes})
        model = getattr(transformers, class_name or usual)(config).eval()
        for weight in model.parameters():  # norms and biases too, which begin at 1 and 0
            weight.data.add_(0.1 * torch.randn(weight.shape))
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A stock folder of each model type."""
    place = tmp_path_factory.mktemp("stock")
    for kind in CASES:
        stock_model(kind).save_pretrained(place / kind)
    return {kind: place / kind for kind in CASES}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """Copy a stock folder with keys of its configuration changed; None takes one out."""

    def make(kind: str, **changes: Any) -> Path:
        folder = tmp_path / kind
        shutil.copytree(folders[kind], folder, dirs_exist_ok=True)
        plain = json.loads((folder / "config.json").read_text()) | changes
        plain = {name: value for name, value in plain.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(plain))
        return folder

    return make


def logits_of(model: Any, spec: TaskSpec, *, stock: bool = False) -> torch.Tensor:
    inputs = golden_inputs(spec)
    with torch.no_grad():
        if stock:
            return model(**{INPUTS[name]: value for name, value in inputs.items()}).logits
        return model(*inputs.values())


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


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


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("llama", {"model_type": "qwen2"}, r"model_type: got 'qwen2'; expected one of llama, mist"),
        ("llama", {"model_type": ...}, r"model_type: got nothing"),
        ("llama", {"model_type": ["llama"]}, r"model_type: got \['llama'\]"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, r"quantization_config: .*sav"),
        ("llama", {"auto_map": {"AutoModel": "code.Model"}}, r"auto_map: .* code of its own"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, r"architectures: "),
        ("llama", {"hidden_act": "gelu"}, r"hidden_act: got 'gelu'; nas computes .* 'silu'"),
        ("llama", {"attention_bias": True}, r"attention_bias: got True"),
        ("llama", {"mlp_bias": True}, r"mlp_bias: got True"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, r"rope_parameters"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, r"rope_scaling: .* without"),
        ("llama", {"rope_theta": 10_000.0}, r"rope_parameters: .* another base .* rope_theta"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor: got 0.5"),
        ("llama", {"eos_token_id": [1, 2]}, r"eos_token_id: got \[1, 2\]; expected one id"),
        ("llama", {"pad_token_id": 61}, r"pad_token_id: got 61; expected one id, 0 to 60"),
        ("llama", {"hidden_size": ...}, r"hidden_size: got nothing"),
        ("llama", {"rms_norm_eps": "1e-5"}, r"rms_norm_eps: got '1e-5'"),
        ("llama", {"num_hidden_layers": 10**9}, r"n_layer: got 1000000000, expected .* 1 to 256"),
        ("llama", {"vocab_size": 1 << 40}, r"task_spec.vocab_size: got"),
        ("mistral", {"sliding_window": 8}, r"sliding_window: got 8; nas attends to all 32 tokens"),
        ("mistral", {"sliding_window": ...}, None),
        ("gpt2", {"activation_function": "relu"}, r"activation_function: got 'relu'"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"scale_attn_weights": False}, r"scale_attn_weights: got False"),
        ("gpt2", {"add_cross_attention": True}, r"add_cross_attention: got True"),
        ("gpt2", {"tie_word_embeddings": False}, r"tie_word_embeddings: got False"),
        ("bert", {"position_embedding_type": "relative_key"}, r"position_embedding_type"),
        ("bert", {"is_decoder": True}, r"is_decoder: got True"),
        ("bert", {"type_vocab_size": 1}, r"type_vocab_size: got 1"),
        ("bert", {"problem_type": "regression"}, r"problem_type: got 'regression'"),
        ("bert", {"id2label": {"0": "a", "2": "b"}}, r"id2label: .* a name for each class 0, 1"),
        ("bert", {"id2label": {"0": "a"}}, r"id2label: .* regression"),
        ("bert", {"num_labels": 7}, r"num_labels: got 7; id2label has 3 names"),
        ("bert", {"id2label": ..., "num_labels": 10**9}, r"num_labels: .* 1 to 1048576"),
        ("bert", {"hidden_size": 17}, r"n_head: 2 does not divide d_model 17"),
        ("modernbert", {"classifier_pooling": "max"}, r"classifier_pooling: got 'max'"),
        ("modernbert", {"num_hidden_layers": 1 << 70}, r"num_hidden_layers: .* 1 to 256"),
        ("modernbert", {"architectures": 5}, r"architectures: got 5; expected a list of"),
        ("modernbert", {"norm_bias": True}, r"norm_bias: got True"),
        ("modernbert", {"local_attention": 7}, r"window: got 7, expected an even"),
        ("modernbert", {"layer_types": ["sliding_attention"] * 5}, r"layer_types: .* every n-th"),
        ("vit", {"qkv_bias": False}, r"qkv_bias: got False"),
        ("vit", {"image_size": [10, 12]}, r"image_size: got \[10, 12\]; expected an integer"),
        ("blenderbot", {"activation_function": "relu"}, r"activation_function: got 'relu'"),
        ("blenderbot", {"scale_embedding": 1}, r"scale_embedding: got 1; expected true or false"),
    ],
)  # fmt: skip
def test_setting_that_is_not_computed_is_refused_by_name(kind, changes, message, copy):
    folder = copy(kind, **changes)
    if message is None:
        nas.load(folder)
        return
    with pytest.raises(ArtifactError, match=message) as caught:
        nas.load(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder / "config.json"))


INERT = {
    "_name_or_path", "attention_dropout", "activation_dropout", "attention_probs_dropout_prob",
    "attn_pdrop", "chunk_size_feed_forward", "classifier_dropout", "decoder_bias",
    "decoder_layerdrop", "deterministic_flash_attn", "dropout", "dtype", "embd_pdrop",
    "embedding_dropout", "encoder_layerdrop", "encoder_no_repeat_ngram_size", "encoder_stride",
    "forced_eos_token_id", "hidden_dropout_prob", "init_std", "initializer_cutoff_factor",
    "initializer_range", "label2id", "mlp_dropout", "output_attentions", "output_hidden_states",
    "pooler_act", "pooler_output_size", "pretraining_tp", "reorder_and_upcast_attn",
    "resid_pdrop", "return_dict", "sparse_pred_ignore_index", "sparse_prediction",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "transformers_version", "use_cache",
}  # fmt: skip
# Of heads, sides and kinds that the model type has not or that are checked under another name.
UNUSED = {
    "bert": {"tie_word_embeddings", "is_encoder_decoder"},
    "blenderbot": {"is_decoder", "bos_token_id", "id2label", "problem_type"},
    "gpt2": {"is_encoder_decoder", "id2label", "problem_type"},
    "llama": {"is_encoder_decoder", "id2label", "problem_type"},
    "mistral": {"is_encoder_decoder", "id2label", "problem_type"},
    "modernbert": {"tie_word_embeddings", "is_encoder_decoder", "bos_token_id", "eos_token_id"},
    "vit": {"is_encoder_decoder"},
}


@pytest.mark.parametrize("kind", CASES)
def test_every_setting_of_the_stock_class_is_read_or_known_to_be_inert(kind, folders):
    """A setting that a later transformers adds must be looked at here."""
    import transformers

    from nas.families.native import NativeConfig, native_of

    plain = json.loads((folders[kind] / "config.json").read_text())
    seen = set()

    class Spy(NativeConfig):
        def value(self, name: str, default: Any = None) -> Any:
            seen.add(name)
            return super().value(name, default)

    native_of(config := Spy(plain, where="here")).read(config)
    settings = transformers.AutoConfig.for_model(kind).to_dict()
    assert set(settings) - seen - INERT - UNUSED[kind] == set()


def test_weights_that_do_not_fit_are_refused(copy):
    cases: list[tuple[str, Callable[[dict[str, torch.Tensor]], Any], str]] = [
        ("llama", lambda s: s.pop("model.norm.weight"), r"lacks 'model.norm.weight'"),
        ("llama", lambda s: s.update(extra=torch.ones(1)), r"has 'extra', which nas does not"),
        ("llama", lambda s: s.update({"lm_head.weight": torch.ones(2, 3)}),
         r"'lm_head.weight' is \(2, 3\), by config.json it is \(61, 16\)"),
        ("llama", lambda s: s.update({"lm_head.weight": torch.ones(61, 16, dtype=torch.int8)}),
         r"'lm_head.weight' is I8, expected one of BF16, F16, F32"),
        ("llama", lambda s: s["lm_head.weight"].fill_(float("nan")), r"that are not finite"),
        ("mistral", lambda s: s.update({"lm_head.weight": torch.ones(61, 16)}),
         r"'lm_head.weight' differs from 'model.embed_tokens.weight'"),
        ("bert", lambda s: s.update({"cls.bias": torch.ones(1)}), r"has 'cls.bias'"),
        ("gpt2", lambda s: s.update({"wte.weight": torch.ones(61, 16)}), r"' twice"),
    ]  # fmt: skip
    for kind, change, message in cases:
        folder = copy(kind)
        change_weights(folder, change)
        with pytest.raises(ArtifactError, match=message):
            nas.load(folder)


def test_folder_with_only_a_pickle_is_refused(copy):
    folder = copy("bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"only in pytorch_model.bin, a pickle, .* save_pretr"):
        nas.load(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ArtifactError, match=r"but neither model.safetensors nor model.safet"):
        nas.load(folder)


def test_index_is_untrusted(copy):
    folder = copy("bert")
    whole = folder / "model.safetensors"
    names = list(load_file(whole))
    whole.rename(folder / "a.safetensors")
    index = folder / "model.safetensors.index.json"
    cases: list[tuple[Any, str]] = [
        ([], r"expected a mapping, got list"),
        ({}, r"weight_map: expected a file"),
        ({"weight_map": {"a": 1}}, r"weight_map: expected a file"),
        ({"weight_map": {"a": "../a.safetensors"}}, r"outside the folder"),
        ({"weight_map": {"a": "/etc/a.safetensors"}}, r"outside the folder"),
        ({"weight_map": {"a": "b.safetensors"}}, r"b.safetensors: is missing"),
        ({"weight_map": {"a": "config.json"}}, r"no safetensors file"),
        ({"weight_map": {"a": "a.safetensors"}}, r"which model.safetensors.index.json does not"),
    ]
    for content, message in cases:
        index.write_text(json.dumps(content))
        with pytest.raises(ArtifactError, match=message):
            nas.load(folder)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "a.safetensors")}))
    nas.load(folder)
    index.write_text("{")
    with pytest.raises(ArtifactError, match="is not JSON"):
        nas.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_are_not_followed(name, copy, tmp_path):
    folder = copy("bert")
    if (folder / name).exists():
        (folder / name).rename(tmp_path / name)
    else:
        (tmp_path / name).write_text("{}")
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a link; links are not followed"):
        nas.load(folder)


def test_damaged_weights_are_refused(copy):
    folder = copy("bert")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for content in (b"", whole[:-4], (1 << 50).to_bytes(8, "little") + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="is not a whole safetensors file"):
            nas.load(folder)


def test_our_own_incomplete_folder_is_none_of_stock(folders, tmp_path):
    nas.save(nas.load(folders["bert"], device="cpu"), tmp_path / "ours")
    (tmp_path / "ours/nas.json").unlink()
    with pytest.raises(ArtifactError, match="neither a complete model folder"):
        nas.load(tmp_path / "ours")
