"""Image classification: a label for an image; loss in nats an image, accuracy, F1.

Shapes: B batch, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.data import DataRequest, Option, PreparedData
from nas.data.image_classification import OPTIONS, TASK, prepare_image_classification
from nas.data.pictures import PREPROCESSOR, Scaling
from nas.records import Recipe
from nas.tasks import metrics
from nas.tasks.batches import (
    Ints,
    Order,
    balanced_weights,
    class_loss,
    examples_weight,
    spread,
    to_device,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

EVAL_BATCH = 128
# Images are moved by up to this share of their size, about two pixels of 28.
SHIFT = 0.08
OWN_SCALING = Scaling()


class ImageBatch(NamedTuple):
    """Inputs and labels of a step; pixels are bytes."""

    pixels_BHWC: NDArray[np.uint8]
    labels_B: Ints


class ImageClassification:
    """Batches, loss and metrics over labelled images. An image counts as one token.

    Args:
        prepared: The data folder.
        recipe: Gives batch, smoothing, class weights and augmentation.
        seed: Decides order and augmentation.
    """

    name: ClassVar[str] = TASK
    head: ClassVar[str] = "classify_image"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "macro_f1", "top5_accuracy")
    description: ClassVar[str] = "put images into classes; folders of classes, npz or IDX"
    options: ClassVar[Mapping[str, Option]] = OPTIONS
    context: ClassVar[int | None] = 1
    recipe_fields: ClassVar[frozenset[str]] = frozenset(
        {"label_smoothing", "class_weights", "augment"}
    )

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        self._pixels = prepared.array("train.pixels")
        self._labels = np.asarray(prepared.array("train.labels"))
        self._order = Order(len(self._labels), recipe.batch, seed)
        self._scaling = _scaling_of(prepared)
        self._weights = None
        if recipe.class_weights == "balanced":
            self._weights = balanced_weights(self._labels, prepared.spec.n_class)

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn labelled images into arrays (see `data.image_classification`)."""
        return prepare_image_classification(request, folder)

    def batch(self, step: int) -> ImageBatch:
        """Return the images of a step, augmented as the recipe says."""
        rows = self._order(step)
        pixels = np.asarray(self._pixels[rows])
        rng = np.random.default_rng([self.seed, 1, step])
        if "shift" in self.recipe.augment:
            pixels = _shifted(pixels, rng)
        if "flip" in self.recipe.augment:
            is_flipped = rng.random(len(rows))[:, None, None, None] < 0.5
            pixels = np.where(is_flipped, pixels[:, :, ::-1], pixels)
        return ImageBatch(pixels, self._labels[rows])

    def loss(self, network: nn.Module, batch: ImageBatch) -> Tensor:
        """Return the mean cross-entropy of a batch in nats an image."""
        logits_BC = network(image_inputs(batch.pixels_BHWC, network, self._scaling))
        labels = to_device(batch.labels_B, network)
        return class_loss(logits_BC, labels, self.recipe.label_smoothing, self._weights)

    def weight(self, batch: ImageBatch) -> float:
        """Return how many images there are, or how much their classes weigh."""
        return examples_weight(batch.labels_B, self._weights)

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> Mapping[str, float]:
        """Return loss, accuracy, macro F1 and top-5 accuracy of a split.

        Args:
            network: In eval mode.
            split: `val` or `test`.
            max_tokens: Images to read at most, spread evenly over the split.
        """
        self.prepared.need(split)
        labels = np.asarray(self.prepared.array(f"{split}.labels"))
        pixels = self.prepared.array(f"{split}.pixels")
        taken = spread(len(labels), max_tokens)
        parts = []
        for start in range(0, len(taken), EVAL_BATCH):
            rows = taken[start : start + EVAL_BATCH]
            parts.append(
                network(image_inputs(np.asarray(pixels[rows]), network, self._scaling))
                .float()
                .cpu()
                .numpy()
            )
        return metrics.classification(np.concatenate(parts), labels[taken])


def _scaling_of(prepared: PreparedData) -> Scaling:
    file = prepared.folder / PREPROCESSOR
    return Scaling.of(file.read_text(encoding="utf-8")) if file.is_file() else OWN_SCALING


def image_inputs(
    pixels_BHWC: NDArray[np.uint8], network: nn.Module, scaling: Scaling = OWN_SCALING
) -> Tensor:
    """Return pixels as the network takes them, (B, C, H, W)."""
    import torch

    pixels: Any = to_device(np.ascontiguousarray(pixels_BHWC), network)
    divisor, shift = (
        torch.tensor(part, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
        for part in (scaling.divisor, scaling.shift)
    )
    scaled: Tensor = pixels.permute(0, 3, 1, 2).float().div_(divisor).sub_(shift)
    return scaled


def _shifted(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move each image by some pixels; its edge is repeated where it left."""
    count, height, width = pixels.shape[:3]
    most = max(1, round(SHIFT * height))
    down, right = rng.integers(-most, most + 1, size=(2, count))
    rows = np.clip(np.arange(height) + down[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) + right[:, None], 0, width - 1)
    moved: NDArray[np.uint8] = pixels[
        np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return moved
