"""Stock transformers folders that cannot be opened are refused, in a line that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stock_cases import CASES, change_weights

import nas
from nas.errors import ArtifactError


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
