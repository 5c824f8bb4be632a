"""`nas.load_keras`: from a model folder to a Keras model on TensorFlow, without torch."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
from safetensors import safe_open

from nas.artifact import Manifest, is_stock_folder, read_manifest, verify_files
from nas.artifact.golden_file import CPU_TOLERANCE, GPU_TOLERANCE, check_logits, read_golden
from nas.artifact.header import check_shapes, not_finite, read_shapes
from nas.errors import ArtifactError
from nas.keras.weights import call_model, empty_model, slots_of


def load_keras(folder: str | os.PathLike[str], *, verify: bool = False) -> keras.Model:
    """Return the model of a folder as a functional Keras model on TensorFlow.

    It returns the logits of its head (see `records.HEADS`). A language model takes ids and an image
    model pixels as one array; others take a dict of their inputs, `ids` and `mask`, and
    `decoder_ids` for an encoder-decoder. Batch and length are free. Its layers bear native names.
    It can be compiled and fitted, saved with `save` (`.keras`) and exported with `export`
    (SavedModel); a saved one is opened by `keras.saving.load_model` after `import nas.keras`.

    Args:
        folder: A model folder.
        verify: Also compare every file's hash, and the logits of a stored input.

    Raises:
        InputError: If Keras or TensorFlow is not installed, or Keras runs on another backend.
        ArtifactError: If the folder is incomplete, altered, a stock one or not a model folder.
        ShapeError: If the family has no such head, or the task's sizes do not go with the shape.
    """
    folder = Path(folder)
    if is_stock_folder(folder):
        raise ArtifactError(
            f"{folder}: is a stock transformers folder, which Keras cannot open; with torch, "
            "nas.save(nas.load(FOLDER), NEW) makes one that opens"
        )
    manifest = read_manifest(folder)
    if verify:
        verify_files(folder, manifest)
    model = _read_model(folder, manifest)
    if verify:
        _verify_golden(model, folder, manifest)
    return model


def _read_model(folder: Path, manifest: Manifest) -> keras.Model:
    path, found = read_shapes(folder, manifest)
    model = empty_model(manifest.architecture, manifest.task_spec)
    slots = slots_of(model)
    check_shapes(folder, found, {name: slot.shape for name, slot in slots.items()})
    with safe_open(path, framework="numpy") as file:
        for name, slot in slots.items():
            tensor = file.get_tensor(name)
            if not np.isfinite(tensor).all():
                raise not_finite(folder, name)
            slot.fill(tensor)
    return model


def _verify_golden(model: keras.Model, folder: Path, manifest: Manifest) -> None:
    inputs, logits = read_golden(folder, manifest)
    on_gpu = "GPU" in model.weights[0].value.device
    tolerance = GPU_TOLERANCE if on_gpu else CPU_TOLERANCE
    check_logits(folder, call_model(model, inputs), logits, tolerance)
