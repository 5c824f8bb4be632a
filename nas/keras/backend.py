"""The backend that Keras runs on: TensorFlow, or a refusal in one line."""

from __future__ import annotations

import os

from nas.errors import InputError

INSTALL = 'pip install "transformer-nas[tensorflow]"'
_WANTED = "tensorflow"


def choose_tensorflow() -> None:
    """Have Keras run on TensorFlow, unless another backend was asked for.

    Raises:
        InputError: If another backend was chosen, or Keras or TensorFlow is not installed.
    """
    chosen = os.environ.setdefault("KERAS_BACKEND", _WANTED)  # also over the user's keras.json
    if chosen == _WANTED:
        chosen = _backend_of_keras()  # imported before, it may run on another one
    if chosen != _WANTED:
        raise InputError(
            f"KERAS_BACKEND: got '{chosen}', expected '{_WANTED}'; set KERAS_BACKEND={_WANTED} "
            "before keras is first imported"
        )


def _backend_of_keras() -> str:
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name not in ("keras", _WANTED):
            raise
        raise InputError(f"{error.name} is not installed; run: {INSTALL}") from error
    backend: str = keras.backend.backend()
    return backend
