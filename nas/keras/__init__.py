"""Found models on the TensorFlow backend of Keras 3, in an environment with or without torch.

`layers` holds what Keras has no layer for, a module a family the functional model of its layers
(`FAMILIES`), `weights` the way from native tensors to Keras variables, `loading` that from a model
folder to a model. Importing this package imports Keras, and registers the layers with it, so that
`keras.saving.load_model` opens what was saved.
"""

from __future__ import annotations

from nas.keras.backend import choose_tensorflow

choose_tensorflow()

from nas.keras.loading import load_keras  # noqa: E402  # Keras reads its backend when imported

__all__ = ["load_keras"]
