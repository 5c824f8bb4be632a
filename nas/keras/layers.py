"""The layers that Keras lacks; with its own they make up every family.

A layer bears the native name of what it stands for, and Keras keeps names: that is how weights
find their place (see `weights`). All weights begin at zero, for they are always read.

Shapes: B batch, T queries' positions, S keys' positions, D d_model, H query heads, G key/value
heads, K head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from nas.errors import InputError

_PACKAGE = "nas"
_NOT_SEEN = -1e9  # as a score: its share of the softmax is exactly 0 in fp32


@keras.saving.register_keras_serializable(_PACKAGE)
class Attention(keras.layers.Layer):
    """Softmax attention between projections; it has no weights itself.

    Args:
        n_head: Query heads, H.
        n_kv_head: Key/value heads, G, each for H / G query heads; None: as many as `n_head`.
        causal: Whether a query sees only keys up to its own position.
        window: A query sees itself and keys at most `window // 2` away; 0: all.
        theta: Base of the rotary angles by which queries and keys are turned; 0: they are not.
    """

    def __init__(
        self,
        n_head: int,
        n_kv_head: int | None = None,
        *,
        causal: bool = False,
        window: int = 0,
        theta: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_head, self.n_kv_head = n_head, n_kv_head or n_head
        self.causal, self.window, self.theta = causal, window, theta

    def call(self, queries: Any, keys: Any, values: Any, tokens: Any = None) -> Any:
        """Mix the values.

        Args:
            queries: Shape (B, T, H * K).
            keys: Shape (B, S, G * K).
            values: As keys.
            tokens: Shape (B, S), 0 at padding, which no query sees; None: there is none.

        Returns:
            The mixed values of all heads beside each other, shape (B, T, H * K).
        """
        head_dim = queries.shape[-1] // self.n_head
        q_BHTK = self._turned(_split(queries, self.n_head))
        k_BGSK = self._turned(_split(keys, self.n_kv_head))
        groups = self.n_head // self.n_kv_head
        k_BHSK, v_BHSK = (
            ops.repeat(x, groups, axis=1) for x in (k_BGSK, _split(values, self.n_kv_head))
        )
        scores = ops.matmul(q_BHTK * head_dim**-0.5, ops.transpose(k_BHSK, (0, 1, 3, 2)))
        scores = ops.cast(scores, "float32")
        seen = self._seen(ops.shape(q_BHTK)[2], ops.shape(k_BHSK)[2], tokens)
        if seen is not None:
            scores = ops.where(seen, scores, _NOT_SEEN)
        mix = ops.cast(_softmax(scores), v_BHSK.dtype)
        mixed_BTHK = ops.transpose(ops.matmul(mix, v_BHSK), (0, 2, 1, 3))
        return ops.reshape(mixed_BTHK, (-1, ops.shape(queries)[1], self.n_head * head_dim))

    def _turned(self, x_BNTK: Any) -> Any:
        """Turn each head's pairs (p, p + K/2) by the position's angle p.

        Source: Su et al., "RoFormer", 2021, https://arxiv.org/abs/2104.09864.
        """
        if not self.theta:
            return x_BNTK
        rates = _rotary_rates(x_BNTK.shape[-1], self.theta)
        places = ops.cast(ops.arange(ops.shape(x_BNTK)[2]), "float32")
        angles_TP = places[:, None] * rates
        cos, sin = ops.cos(angles_TP), ops.sin(angles_TP)
        first, second = ops.split(ops.cast(x_BNTK, "float32"), 2, axis=-1)
        halves = (first * cos - second * sin, second * cos + first * sin)
        return ops.cast(ops.concatenate(halves, axis=-1), x_BNTK.dtype)

    def _seen(self, length: Any, count: Any, tokens: Any) -> Any:
        """Return which keys each query sees, broadcast to (B, H, T, S); None: all."""
        real = None if tokens is None else ops.not_equal(tokens, 0)[:, None, None]
        if not (self.causal or self.window):
            return real
        apart = ops.arange(length)[:, None] - ops.arange(count)
        seen = apart >= 0 if self.causal else ops.abs(apart) <= self.window // 2
        if real is None:
            return seen
        both = ops.logical_and(seen, real)
        return ops.logical_or(both, apart == 0)  # padding too sees something: itself

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        own = {
            name: getattr(self, name)
            for name in ("n_head", "n_kv_head", "causal", "window", "theta")
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(_PACKAGE)
class TokenEmbedding(keras.layers.Layer):
    """A vector for each token id, and with `reverse` the logits of a tied output layer.

    Args:
        vocab_size: Ids, V.
        d_model: Width of a vector, D.
    """

    def __init__(self, vocab_size: int, d_model: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size, self.d_model = vocab_size, d_model
        self.embeddings = self.add_weight(
            name="embeddings", shape=(vocab_size, d_model), initializer="zeros"
        )

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        """Return vectors, (B, T, D), of ids, or with `reverse` logits, (B, T, V), of vectors."""
        if reverse:
            return ops.matmul(inputs, ops.transpose(self.embeddings))
        return ops.take(self.embeddings, inputs, axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "vocab_size": self.vocab_size, "d_model": self.d_model}


@keras.saving.register_keras_serializable(_PACKAGE)
class AddPositions(keras.layers.Layer):
    """Add a learned vector for each position.

    Args:
        count: Positions, the longest input.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape: Any) -> None:
        """Make the vectors, (count, D)."""
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.count, input_shape[-1]), initializer="zeros"
        )

    def call(self, inputs: Any) -> Any:
        """Return (B, T, D) of the same shape."""
        length = ops.shape(inputs)[1]
        if isinstance(length, int) and length > self.count:
            raise InputError(
                f"got {length} tokens, the model has positions for {self.count}; cut the input"
            )
        return inputs + self.embeddings[:length]

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(_PACKAGE)
class AddValue(keras.layers.Layer):
    """Add one learned value.

    Args:
        shape: The value's shape, which broadcasts to the input's.
    """

    def __init__(self, shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.value = self.add_weight(name="value", shape=self.shape, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Return the sum, of the input's shape."""
        return inputs + self.value

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes."""
        return {**super().get_config(), "shape": self.shape}


@keras.saving.register_keras_serializable(_PACKAGE)
class ClassToken(keras.layers.Layer):
    """Put one learned vector before those of the patches."""

    def build(self, input_shape: Any) -> None:
        """Make the vector, (1, 1, D)."""
        self.value = self.add_weight(
            name="value", shape=(1, 1, input_shape[-1]), initializer="zeros"
        )

    def call(self, inputs: Any) -> Any:
        """Return (B, T + 1, D) for (B, T, D)."""
        first = ops.zeros_like(inputs[:, :1]) + self.value
        return ops.concatenate((first, inputs), axis=1)


@keras.saving.register_keras_serializable(_PACKAGE)
class TokenMean(keras.layers.Layer):
    """The mean over the tokens that are no padding."""

    def call(self, inputs: Any, tokens: Any) -> Any:
        """Return (B, D) for vectors (B, T, D) and `tokens` (B, T), 0 at padding."""
        weights = ops.cast(tokens, inputs.dtype)[..., None]
        return ops.sum(inputs * weights, axis=1) / ops.sum(weights, axis=1)


@keras.saving.register_keras_serializable(_PACKAGE)
class StoredDense(keras.layers.Dense):
    """A dense layer whose native matrix is stored as Keras has it, (n_in, n_out)."""


@keras.saving.register_keras_serializable(_PACKAGE)
def gelu_tanh(x: Any) -> Any:
    """Return the tanh form of GELU."""
    return keras.activations.gelu(x, approximate=True)


def _softmax(scores: Any) -> Any:
    """Return the softmax of the last axis; Keras's own warns where a text has one token alone."""
    top = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    shares = ops.exp(scores - top)
    return shares / ops.sum(shares, axis=-1, keepdims=True)


def _split(x_BTN: Any, n_head: int) -> Any:
    """Return heads, (B, N, T, K), of (B, T, N * K)."""
    head_dim = x_BTN.shape[-1] // n_head
    x_BTNK = ops.reshape(x_BTN, (-1, ops.shape(x_BTN)[1], n_head, head_dim))
    return ops.transpose(x_BTNK, (0, 2, 1, 3))


def _rotary_rates(head_dim: int, theta: float) -> Any:
    """Return the angle that each pair turns by from one position to the next, (K / 2,) fp32.

    Powers are taken in fp64 and rounded: torch's fp32 powers are so rounded but for one in 70,
    numpy's but for one in 5, and a position of thousands multiplies the difference.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers = np.power(theta, exponents.astype(np.float64)).astype(np.float32)
    return np.float32(1) / powers
