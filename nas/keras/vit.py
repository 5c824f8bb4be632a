"""The Vision Transformer in Keras (see `families.vit.module`)."""

from __future__ import annotations

from typing import Any

import keras

from nas.families.vit.shape import VitShape
from nas.keras.blocks import classifier, layer_norm, linear
from nas.keras.layers import AddValue, Attention, ClassToken
from nas.records import TaskSpec


def build(shape: VitShape, spec: TaskSpec) -> Any:
    """Return the model: pixels (B, channels, height, width) to logits of the classes, (B, C)."""
    sides = (spec.n_channel, spec.image_size, spec.image_size)
    pixels = keras.Input(shape=sides, dtype="float32", name="pixels")
    x_BTD = _embed(shape, spec, pixels)
    for layer in range(shape.n_layer):
        x_BTD = _block(shape, f"vit.encoder.layer.{layer}", x_BTD)
    first_BD = layer_norm("vit.layernorm", shape.norm_eps)(x_BTD[:, 0])
    return keras.Model(pixels, classifier(first_BD, spec), name="vit")


def _embed(shape: VitShape, spec: TaskSpec, pixels: Any) -> Any:
    name, count = "vit.embeddings", (spec.image_size // shape.patch_size) ** 2
    patches = keras.layers.Conv2D(
        shape.d_model,
        shape.patch_size,
        strides=shape.patch_size,
        kernel_initializer="zeros",
        data_format="channels_last",
        name=f"{name}.patch_embeddings.projection",
    )
    grid = patches(keras.layers.Permute((2, 3, 1))(pixels))
    tokens = ClassToken(name=f"{name}.cls_token")(keras.layers.Reshape((count, -1))(grid))
    places = AddValue((1, count + 1, shape.d_model), name=f"{name}.position_embeddings")
    return places(tokens)


def _block(shape: VitShape, name: str, x_BTD: Any) -> Any:
    normed = layer_norm(f"{name}.layernorm_before", shape.norm_eps)(x_BTD)
    inner = f"{name}.attention.attention"
    q, k, v = (
        linear(f"{inner}.{part}", shape.d_model)(normed) for part in ("query", "key", "value")
    )
    mixed = Attention(shape.n_head, name=inner)(q, k, v)
    update = linear(f"{name}.attention.output.dense", shape.d_model)(mixed)
    x_BTD = keras.layers.add([x_BTD, update])
    normed = layer_norm(f"{name}.layernorm_after", shape.norm_eps)(x_BTD)
    wide = linear(f"{name}.intermediate.dense", shape.d_ff, activation="gelu")(normed)
    return keras.layers.add([x_BTD, linear(f"{name}.output.dense", shape.d_model)(wide)])
