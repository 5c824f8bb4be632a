"""The ModernBERT classifier in Keras (see `families.modernbert.module`).

Local layers compute all scores and leave out those beyond the window: memory grows with the square
of the length here.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nas.families.modernbert.shape import ModernBertShape
from nas.keras.blocks import classifier, ids_input, layer_norm, linear
from nas.keras.layers import Attention, TokenEmbedding, TokenMean
from nas.records import TaskSpec


def build(shape: ModernBertShape, spec: TaskSpec) -> Any:
    """Return the model: `ids` and `mask` (B, T) to the logits of each text's classes, (B, C)."""
    inputs = {"ids": ids_input(), "mask": ids_input("mask")}
    name = "model.embeddings"
    embed = TokenEmbedding(spec.vocab_size, shape.d_model, name=f"{name}.tok_embeddings")
    x_BTD = _norm(shape, f"{name}.norm")(embed(inputs["ids"]))
    for layer in range(shape.n_layer):
        x_BTD = _block(shape, layer, x_BTD, inputs["mask"])
    x_BTD = _norm(shape, "model.final_norm")(x_BTD)
    pooled_BD = x_BTD[:, 0] if shape.first_token else TokenMean()(x_BTD, inputs["mask"])
    dense = linear("head.dense", shape.d_model, bias=False, activation="gelu")
    head_BD = _norm(shape, "head.norm")(dense(pooled_BD))
    return keras.Model(inputs, classifier(head_BD, spec), name="modernbert")


def _block(shape: ModernBertShape, layer: int, x_BTD: Any, mask: Any) -> Any:
    name = f"model.layers.{layer}"
    normed = _norm(shape, f"{name}.attn_norm")(x_BTD) if layer else x_BTD
    x_BTD = keras.layers.add([x_BTD, _attention(shape, layer, normed, mask)])
    normed = _norm(shape, f"{name}.mlp_norm")(x_BTD)
    wide = linear(f"{name}.mlp.Wi", 2 * shape.d_ff, bias=False)(normed)
    inner, gate = ops.split(wide, 2, axis=-1)
    product = keras.layers.multiply([keras.layers.Activation("gelu")(inner), gate])
    update = linear(f"{name}.mlp.Wo", shape.d_model, bias=False)(product)
    return keras.layers.add([x_BTD, update])


def _attention(shape: ModernBertShape, layer: int, x_BTD: Any, mask: Any) -> Any:
    name, whole = f"model.layers.{layer}.attn", layer % shape.global_every == 0
    q, k, v = ops.split(linear(f"{name}.Wqkv", 3 * shape.d_model, bias=False)(x_BTD), 3, axis=-1)
    mix = Attention(
        shape.n_head,
        window=0 if whole else shape.window,
        theta=shape.global_theta if whole else shape.local_theta,
        name=name,
    )
    return linear(f"{name}.Wo", shape.d_model, bias=False)(mix(q, k, v, mask))


def _norm(shape: ModernBertShape, name: str) -> Any:
    return layer_norm(name, shape.norm_eps, bias=False)
