"""Stock models of each type, and what tests do with their folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

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


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
