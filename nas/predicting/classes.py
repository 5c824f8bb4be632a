"""Classes of texts and of images, each prepared as in training.

Shapes: B batch, T longest text of the batch, C classes, H height, W width.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.artifact.folder import broken
from nas.data.pictures import (
    PREPROCESSOR,
    Pixels,
    Scaling,
    in_channels,
    in_size,
    picture_of,
    pixels_of,
)
from nas.data.text_classification import cut_text
from nas.errors import InputError
from nas.predicting.rows import Floats, by_length, encoded, frame_of, likeliest, softmax
from nas.tasks.batches import pad_rows, to_device
from nas.tasks.image_classification import image_inputs

if TYPE_CHECKING:
    from nas.predicting import Asked, Wanted


class TextClassifier:
    """Labels of texts; one beyond the context is read as the model's `long_inputs` says."""

    def __init__(self, asked: Asked) -> None:
        self._network, self._spec = asked.network, asked.spec
        self._asked, self._frame = asked, frame_of(asked)

    def is_one(self, inputs: Any) -> bool:
        """Say whether it is a text."""
        return isinstance(inputs, str)

    def answers(self, inputs: Sequence[Any], wanted: Wanted) -> list[Any]:
        """Return the label of each text, or its `top_k` likeliest labels."""
        spec = self._spec
        options = {"long_inputs": spec.long_inputs, "chunk_overlap": spec.chunk_overlap}
        pieces = [
            list(cut_text(options, tokens, spec.context, self._frame))
            for tokens in encoded(self._asked, inputs, wanted.first)
        ]
        owner = np.repeat(np.arange(len(pieces)), [len(found) for found in pieces])
        logits = self._logits([row for found in pieces for row in found], wanted.batch)
        total = np.zeros((len(pieces), spec.n_class), dtype=np.float32)
        np.add.at(total, owner, logits)
        counts = np.array([len(found) for found in pieces]).reshape(-1, 1)
        return _ranked(total / counts, spec.labels, wanted.top_k)

    def _logits(self, rows: Sequence[list[int]], batch: int) -> Floats:
        logits_NC = np.empty((len(rows), self._spec.n_class), dtype=np.float32)
        for places in by_length(rows, batch):
            found = [np.array(rows[place], dtype=np.int64) for place in places]
            ids, mask = pad_rows(found, self._spec.pad_token_id or 0)
            logits = self._network(to_device(ids, self._network), to_device(mask, self._network))
            logits_NC[places] = logits.float().cpu().numpy()
        return logits_NC


class ImageClassifier:
    """Labels of images: paths, Pillow's images, arrays (H, W[, C]) and tensors (C, H, W)."""

    def __init__(self, asked: Asked) -> None:
        self._network, self._spec = asked.network, asked.spec
        self._scaling = Scaling() if asked.preprocessor is None else Scaling.of(asked.preprocessor)
        if len(self._scaling.divisor) not in (1, self._spec.n_channel):
            problem = f"is for {len(self._scaling.divisor)} channels, not {self._spec.n_channel}"
            raise broken(asked.folder, PREPROCESSOR, problem)

    def is_one(self, inputs: Any) -> bool:
        """Say whether it is an image rather than several."""
        if isinstance(inputs, (str, Path)) or _is_pillow(inputs):
            return True
        return hasattr(inputs, "ndim") and inputs.ndim != 4

    def answers(self, inputs: Sequence[Any], wanted: Wanted) -> list[Any]:
        """Return the label of each image, or its `top_k` likeliest labels."""
        found: list[Any] = []
        for start in range(0, len(inputs), wanted.batch):
            images = [
                self._pixels(image, f"input {wanted.first + number}")
                for number, image in enumerate(inputs[start : start + wanted.batch], start=start)
            ]
            pixels = image_inputs(np.stack(images), self._network, self._scaling)
            kind = next(self._network.parameters()).dtype
            logits = self._network(pixels.to(kind)).float().cpu().numpy()
            found += _ranked(logits, self._spec.labels, wanted.top_k)
        return found

    def _pixels(self, image: Any, name: str) -> Pixels:
        """Return an image as the bytes (H, W, C) that training would have read."""
        size = self._spec.image_size
        if isinstance(image, (str, Path)):
            pixels = picture_of(Path(image), size)
        elif _is_pillow(image):
            pixels = pixels_of(image, name, size)
        else:
            pixels = _bytes_of(image, name)
        ready: Pixels = in_channels(in_size(pixels[None], size), self._spec.n_channel)[0]
        return ready


def _is_pillow(image: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")  # who made one has imported it
    return pillow is not None and isinstance(image, pillow.Image)


def _bytes_of(image: Any, name: str) -> Pixels:
    """Return an array (H, W[, C]) or a tensor ([C, ]H, W) as bytes (H, W, C)."""
    import torch

    array: NDArray[Any]
    if isinstance(image, torch.Tensor):
        array = image.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise InputError(
            f"{name}: got {type(image).__name__}, expected a path, an image of Pillow, an array or "
            "a tensor"
        )
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        raise InputError(
            f"{name}: got an image of shape {tuple(image.shape)}, expected (height, width) or "
            "(height, width, 1 or 3); of a tensor the channels come first"
        )
    return _as_bytes(array, name)


def _as_bytes(array: NDArray[Any], name: str) -> Pixels:
    if array.dtype == np.uint8:
        return array
    most = 255 if np.issubdtype(array.dtype, np.integer) else 1
    is_number = np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)
    # NaN compares as false.
    if not is_number or not (array.min() >= 0 and array.max() <= most):
        raise InputError(
            f"{name}: got pixels of {array.dtype} beyond their range, expected integers 0 to 255 "
            "or fractions 0 to 1"
        )
    return array.astype(np.uint8) if most == 255 else np.round(array * 255.0).astype(np.uint8)


def _ranked(logits_NC: Floats, labels: Sequence[str], top_k: int | None) -> list[Any]:
    ranked = [likeliest(scores, labels, top_k or 1) for scores in softmax(logits_NC)]
    return ranked if top_k is not None else [found[0] for found in ranked]
