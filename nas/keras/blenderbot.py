"""The Blenderbot encoder and decoder in Keras (see `families.blenderbot.module`)."""

from __future__ import annotations

from typing import Any

import keras

from nas.families.blenderbot.shape import BlenderbotShape
from nas.keras.blocks import ids_input, layer_norm, linear
from nas.keras.layers import AddPositions, AddValue, Attention, TokenEmbedding
from nas.records import TaskSpec

LAYER_NORM_EPS = 1e-5


def build(shape: BlenderbotShape, spec: TaskSpec) -> Any:
    """Return the model.

    It takes `ids` and `mask` (B, S) of the source and `decoder_ids` (B, T), and returns the logits
    of each next target token, (B, T, V).
    """
    inputs = {name: ids_input(name) for name in ("ids", "mask", "decoder_ids")}
    embed = TokenEmbedding(spec.vocab_size, shape.d_model, name="model.shared")
    x_BSD = _embed(shape, spec, "encoder", embed(inputs["ids"]))
    for layer in range(shape.n_layer):
        name = f"model.encoder.layers.{layer}"
        x_BSD = _self_attention(shape, name, x_BSD, inputs["mask"], causal=False)
        x_BSD = _feed_forward(shape, name, x_BSD)
    memory_BSD = _norm("model.encoder.layer_norm")(x_BSD)

    side = shape.decoder
    x_BTD = _embed(shape, spec, "decoder", embed(inputs["decoder_ids"]))
    for layer in range(side.n_layer):
        name = f"model.decoder.layers.{layer}"
        x_BTD = _self_attention(side, name, x_BTD, None, causal=True)
        x_BTD = _cross_attention(side, name, x_BTD, memory_BSD, inputs["mask"])
        x_BTD = _feed_forward(side, name, x_BTD)
    logits = embed(_norm("model.decoder.layer_norm")(x_BTD), reverse=True)
    # The native class has it as a buffer that is not trained.
    bias = AddValue((1, spec.vocab_size), trainable=False, name="final_logits_bias")
    return keras.Model(inputs, bias(logits), name="blenderbot")


def _self_attention(
    shape: BlenderbotShape, name: str, x_BTD: Any, mask: Any, *, causal: bool
) -> Any:
    normed = _norm(f"{name}.self_attn_layer_norm")(x_BTD)
    name = f"{name}.self_attn"
    update = _attend(shape, name, normed, normed, mask, causal=causal)
    return keras.layers.add([x_BTD, update])


def _cross_attention(
    shape: BlenderbotShape, name: str, x_BTD: Any, memory_BSD: Any, mask: Any
) -> Any:
    normed = _norm(f"{name}.encoder_attn_layer_norm")(x_BTD)
    name = f"{name}.encoder_attn"
    update = _attend(shape, name, normed, memory_BSD, mask, causal=False)
    return keras.layers.add([x_BTD, update])


def _attend(
    shape: BlenderbotShape, name: str, x_BTD: Any, seen_BSD: Any, mask: Any, *, causal: bool
) -> Any:
    q = linear(f"{name}.q_proj", shape.d_model)(x_BTD)
    k, v = (linear(f"{name}.{part}_proj", shape.d_model)(seen_BSD) for part in "kv")
    mixed = Attention(shape.n_head, causal=causal, name=name)(q, k, v, mask)
    return linear(f"{name}.out_proj", shape.d_model)(mixed)


def _feed_forward(shape: BlenderbotShape, name: str, x_BTD: Any) -> Any:
    normed = _norm(f"{name}.final_layer_norm")(x_BTD)
    wide = linear(f"{name}.fc1", shape.d_ff, activation="gelu")(normed)
    return keras.layers.add([x_BTD, linear(f"{name}.fc2", shape.d_model)(wide)])


def _embed(shape: BlenderbotShape, spec: TaskSpec, side: str, words: Any) -> Any:
    if shape.scale_embedding:
        words = keras.layers.Rescaling(shape.d_model**0.5)(words)
    return AddPositions(spec.context, name=f"model.{side}.embed_positions")(words)


def _norm(name: str) -> Any:
    return layer_norm(name, LAYER_NORM_EPS)
