"""The BERT classifier in Keras (see `families.bert.module`)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nas.families.bert.shape import TOKEN_TYPES, BertShape
from nas.keras.blocks import classifier, ids_input, layer_norm, linear
from nas.keras.layers import AddPositions, Attention, TokenEmbedding
from nas.records import TaskSpec


def build(shape: BertShape, spec: TaskSpec) -> Any:
    """Return the model: `ids` and `mask` (B, T) to the logits of each text's classes, (B, C)."""
    inputs = {"ids": ids_input(), "mask": ids_input("mask")}
    x_BTD = _embed(shape, spec, inputs["ids"])
    for layer in range(shape.n_layer):
        x_BTD = _block(shape, f"bert.encoder.layer.{layer}", x_BTD, inputs["mask"])
    pooled_BD = linear("bert.pooler.dense", shape.d_model, activation="tanh")(x_BTD[:, 0])
    return keras.Model(inputs, classifier(pooled_BD, spec), name="bert")


def _embed(shape: BertShape, spec: TaskSpec, ids: Any) -> Any:
    name = "bert.embeddings"
    words = TokenEmbedding(spec.vocab_size, shape.d_model, name=f"{name}.word_embeddings")
    types = TokenEmbedding(TOKEN_TYPES, shape.d_model, name=f"{name}.token_type_embeddings")
    places = AddPositions(spec.context, name=f"{name}.position_embeddings")
    # All tokens are of the first type.
    x_BTD = keras.layers.add([words(ids), places(types(ops.zeros_like(ids)))])
    return layer_norm(f"{name}.LayerNorm", shape.norm_eps)(x_BTD)


def _block(shape: BertShape, name: str, x_BTD: Any, mask: Any) -> Any:
    inner = f"{name}.attention.self"
    q, k, v = (
        linear(f"{inner}.{part}", shape.d_model)(x_BTD) for part in ("query", "key", "value")
    )
    mixed = Attention(shape.n_head, name=inner)(q, k, v, mask)
    x_BTD = _add_norm(f"{name}.attention.output", shape, mixed, x_BTD)
    wide = linear(f"{name}.intermediate.dense", shape.d_ff, activation="gelu")(x_BTD)
    return _add_norm(f"{name}.output", shape, wide, x_BTD)


def _add_norm(name: str, shape: BertShape, inner: Any, x_BTD: Any) -> Any:
    update = linear(f"{name}.dense", shape.d_model)(inner)
    return layer_norm(f"{name}.LayerNorm", shape.norm_eps)(keras.layers.add([x_BTD, update]))
