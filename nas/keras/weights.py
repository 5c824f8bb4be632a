"""From native tensors to the variables of a Keras model, and the models without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from nas.errors import InputError, ShapeError
from nas.families import cost_of, shape_of
from nas.keras.layers import StoredDense
from nas.plugins import import_row
from nas.records import Architecture, TaskSpec

FAMILIES: dict[str, str] = {
    "llama": "nas.keras.llama:build",
    "gpt2": "nas.keras.gpt2:build",
    "bert": "nas.keras.bert:build",
    "modernbert": "nas.keras.modernbert:build",
    "vit": "nas.keras.vit:build",
    "blenderbot": "nas.keras.blenderbot:build",
}

# What follows a layer's name in the native name of each of its variables.
_ENDS = {
    "kernel": ".weight",
    "embeddings": ".weight",
    "gamma": ".weight",
    "scale": ".weight",
    "bias": ".bias",
    "beta": ".bias",
    "value": "",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A variable, and the order of the native tensor's axes in it."""

    variable: Any
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The native tensor's shape."""
        return tuple(self.variable.shape[self.axes.index(axis)] for axis in range(len(self.axes)))

    def fill(self, tensor: NDArray[np.float32]) -> None:
        """Give the variable the native tensor's numbers."""
        self.variable.assign(tensor.transpose(self.axes))


def empty_model(architecture: Architecture, spec: TaskSpec) -> keras.Model:
    """Return the family's Keras model, its weights at zero.

    Raises:
        InputError: If the family has none.
        ShapeError: If the family has no such head, or the task's sizes do not go with the shape.
    """
    if architecture.family not in FAMILIES:
        raise InputError(
            f"family '{architecture.family}' has no Keras model; those that have: "
            f"{', '.join(FAMILIES)}"
        )
    shape = shape_of(architecture)
    if spec.head not in shape.heads:
        raise ShapeError(f"family '{architecture.family}' has no head '{spec.head}'")
    columns = cost_of(architecture, spec, context=spec.context, batch=1)
    for name, least in shape.least.items():
        if columns[name] < least:
            raise ShapeError(
                f"{architecture.family}: {name}: got {columns[name]:g}, expected at least {least:g}"
            )
    return import_row(FAMILIES[architecture.family])(shape, spec)


def slots_of(model: keras.Model) -> dict[str, Slot]:
    """Return where each native tensor goes, by its native name."""
    return {
        layer.name + _ENDS[variable.name]: Slot(variable, _axes(layer, variable))
        for layer in model.layers
        for variable in layer.weights
    }


def fill_model(model: keras.Model, tensors: Mapping[str, NDArray[np.float32]]) -> keras.Model:
    """Give the model these native tensors, one for each slot, and return it."""
    slots = slots_of(model)
    assert set(slots) == set(tensors), set(slots) ^ set(tensors)
    for name, slot in slots.items():
        slot.fill(tensors[name])
    return model


def call_model(model: keras.Model, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return the logits for inputs by name (see `records.HEADS`)."""
    given = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    return np.asarray(keras.ops.convert_to_numpy(model(given)), np.float32)


def _axes(layer: keras.layers.Layer, variable: Any) -> tuple[int, ...]:
    """Return which axis of the native tensor each axis of the variable is."""
    if variable.name == "kernel" and not isinstance(layer, StoredDense):
        return (1, 0) if len(variable.shape) == 2 else (2, 3, 1, 0)
    return tuple(range(len(variable.shape)))
