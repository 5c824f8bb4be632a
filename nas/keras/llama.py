"""The Llama decoder in Keras (see `families.llama.module`)."""

from __future__ import annotations

from typing import Any

import keras

from nas.families.llama.shape import LlamaShape
from nas.keras.blocks import ids_input, linear, rms_norm
from nas.keras.layers import Attention, TokenEmbedding
from nas.records import TaskSpec


def build(shape: LlamaShape, spec: TaskSpec) -> Any:
    """Return the model: ids (B, T) to the logits of each next token, (B, T, V)."""
    ids = ids_input()
    embed = TokenEmbedding(spec.vocab_size, shape.d_model, name="model.embed_tokens")
    x_BTD = embed(ids)
    for layer in range(shape.n_layer):
        x_BTD = _block(shape, layer, x_BTD)
    x_BTD = rms_norm("model.norm", shape.norm_eps)(x_BTD)
    if shape.tied:
        logits = embed(x_BTD, reverse=True)
    else:
        logits = linear("lm_head", spec.vocab_size, bias=False)(x_BTD)
    return keras.Model(ids, logits, name="llama")


def _block(shape: LlamaShape, layer: int, x_BTD: Any) -> Any:
    name = f"model.layers.{layer}"
    normed = rms_norm(f"{name}.input_layernorm", shape.norm_eps)(x_BTD)
    x_BTD = keras.layers.add([x_BTD, _attention(shape, layer, normed)])
    normed = rms_norm(f"{name}.post_attention_layernorm", shape.norm_eps)(x_BTD)
    width = shape.ff_widths[layer]
    gate = linear(f"{name}.mlp.gate_proj", width, bias=False, activation="silu")(normed)
    up = linear(f"{name}.mlp.up_proj", width, bias=False)(normed)
    down = linear(f"{name}.mlp.down_proj", shape.d_model, bias=False)
    return keras.layers.add([x_BTD, down(keras.layers.multiply([gate, up]))])


def _attention(shape: LlamaShape, layer: int, x_BTD: Any) -> Any:
    name, n_kv_head = f"model.layers.{layer}.self_attn", shape.kv_heads[layer]
    q, k, v = (
        linear(f"{name}.{part}_proj", heads * shape.head_size, bias=False)(x_BTD)
        for part, heads in (("q", shape.n_head), ("k", n_kv_head), ("v", n_kv_head))
    )
    mix = Attention(shape.n_head, n_kv_head, causal=True, theta=shape.rope_theta, name=name)
    return linear(f"{name}.o_proj", shape.d_model, bias=False)(mix(q, k, v))
