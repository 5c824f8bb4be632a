"""The GPT-2 decoder in Keras (see `families.gpt2.module`)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nas.families.gpt2.shape import Gpt2Shape
from nas.keras.blocks import ids_input, layer_norm
from nas.keras.layers import AddPositions, Attention, StoredDense, TokenEmbedding, gelu_tanh
from nas.records import TaskSpec


def build(shape: Gpt2Shape, spec: TaskSpec) -> Any:
    """Return the model: ids (B, T) to the logits of each next token, (B, T, V)."""
    ids = ids_input()
    embed = TokenEmbedding(spec.vocab_size, shape.d_model, name="transformer.wte")
    x_BTD = AddPositions(spec.context, name="transformer.wpe")(embed(ids))
    for layer in range(shape.n_layer):
        x_BTD = _block(shape, f"transformer.h.{layer}", x_BTD)
    x_BTD = layer_norm("transformer.ln_f", shape.norm_eps)(x_BTD)
    return keras.Model(ids, embed(x_BTD, reverse=True), name="gpt2")


def _block(shape: Gpt2Shape, name: str, x_BTD: Any) -> Any:
    normed = layer_norm(f"{name}.ln_1", shape.norm_eps)(x_BTD)
    q, k, v = ops.split(_stored(f"{name}.attn.c_attn", 3 * shape.d_model)(normed), 3, axis=-1)
    mixed = Attention(shape.n_head, causal=True, name=f"{name}.attn")(q, k, v)
    update = _stored(f"{name}.attn.c_proj", shape.d_model)(mixed)
    x_BTD = keras.layers.add([x_BTD, update])
    normed = layer_norm(f"{name}.ln_2", shape.norm_eps)(x_BTD)
    inner = _stored(f"{name}.mlp.c_fc", shape.d_ff, activation=gelu_tanh)(normed)
    update = _stored(f"{name}.mlp.c_proj", shape.d_model)(inner)
    return keras.layers.add([x_BTD, update])


def _stored(name: str, width: int, activation: Any = None) -> Any:
    return StoredDense(width, activation=activation, kernel_initializer="zeros", name=name)
