"""What the families' models share: inputs, projections and norms under native names."""

from __future__ import annotations

from typing import Any

import keras

from nas.records import TaskSpec


def ids_input(name: str = "ids") -> Any:
    """Return an input of token ids or a mask, (B, T) with both free."""
    return keras.Input(shape=(None,), dtype="int64", name=name)


def linear(name: str, width: int, *, bias: bool = True, activation: Any = None) -> Any:
    """Return a projection of the last dimension to `width`."""
    return keras.layers.Dense(
        width, use_bias=bias, activation=activation, kernel_initializer="zeros", name=name
    )


def layer_norm(name: str, eps: float, *, bias: bool = True) -> Any:
    """Return a layer norm of the last dimension."""
    return keras.layers.LayerNormalization(epsilon=eps, center=bias, name=name)


def rms_norm(name: str, eps: float) -> Any:
    """Return a root-mean-square norm of the last dimension."""
    return keras.layers.RMSNormalization(epsilon=eps, name=name)


def classifier(x_BD: Any, spec: TaskSpec) -> Any:
    """Return the logits of the classes, (B, C)."""
    return linear("classifier", spec.n_class)(x_BD)
