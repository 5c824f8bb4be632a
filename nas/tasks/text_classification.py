"""Text classification: a label for a text; loss in nats an example, accuracy, F1.

Shapes: B batch, T longest text of the batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from nas.data import DataRequest, Option, PreparedData
from nas.data.rows import Ragged
from nas.data.text_classification import MASK, OPTIONS, TASK, prepare_text_classification
from nas.records import Recipe
from nas.tasks import metrics
from nas.tasks.batches import (
    Ints,
    Order,
    balanced_weights,
    class_loss,
    examples_weight,
    in_batches,
    pad_rows,
    spread,
    to_device,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

LEADING, TRAILING = 1, 1  # special tokens of a text, which are never hidden


class TextBatch(NamedTuple):
    """Inputs and labels of a step."""

    ids_BT: Ints
    mask_BT: Ints
    labels_B: Ints


class TextClassification:
    """Batches, loss and metrics over labelled texts.

    A text that was cut into pieces trains piece by piece, each with the text's label; its logits
    are the mean of its pieces'.

    Args:
        prepared: The data folder.
        recipe: Gives batch, smoothing, class weights and the share of tokens that are hidden.
        seed: Decides order and hiding.
    """

    name: ClassVar[str] = TASK
    head: ClassVar[str] = "classify"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "macro_f1", "top5_accuracy")
    description: ClassVar[str] = "put texts into classes; csv, tsv or jsonl with text and label"
    options: ClassVar[Mapping[str, Option]] = OPTIONS
    context: ClassVar[int | None] = None
    recipe_fields: ClassVar[frozenset[str]] = frozenset(
        {"token_dropout", "label_smoothing", "class_weights"}
    )

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        self._texts = Ragged(prepared, "train")
        owner = prepared.array("train.owner")
        self._labels = np.asarray(prepared.array("train.labels"))[owner]
        self._order = Order(len(self._texts), recipe.batch, seed, self._texts.lengths)
        self._weights = None
        if recipe.class_weights == "balanced":
            self._weights = balanced_weights(self._labels, prepared.spec.n_class)

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn labelled texts into arrays (see `data.text_classification`)."""
        return prepare_text_classification(request, folder)

    def batch(self, step: int) -> TextBatch:
        """Return the texts of a step."""
        rows = self._order(step)
        ids, mask = pad_rows([self._texts[row] for row in rows], self._pad)
        if self.recipe.token_dropout:
            rng = np.random.default_rng([self.seed, 1, step])
            lengths = mask.sum(axis=1, keepdims=True)
            place = np.arange(ids.shape[1])
            inner = (place >= LEADING) & (place < lengths - TRAILING)
            hidden = rng.random(ids.shape) < self.recipe.token_dropout
            ids = np.where(inner & hidden, MASK, ids)
        return TextBatch(ids, mask, self._labels[rows])

    def loss(self, network: nn.Module, batch: TextBatch) -> Tensor:
        """Return the mean cross-entropy of a batch in nats an example."""
        ids, mask, labels = (to_device(array, network) for array in batch)
        logits_BC = network(ids, None if batch.mask_BT.all() else mask)
        return class_loss(logits_BC, labels, self.recipe.label_smoothing, self._weights)

    def weight(self, batch: TextBatch) -> float:
        """Return how many texts there are, or how much their classes weigh."""
        return examples_weight(batch.labels_B, self._weights)

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> Mapping[str, float]:
        """Return loss, accuracy, macro F1 and top-5 accuracy of a split.

        Args:
            network: In eval mode.
            split: `val` or `test`.
            max_tokens: Tokens to read at most, of texts spread evenly over the split.
        """
        self.prepared.need(split)
        labels = np.asarray(self.prepared.array(f"{split}.labels"))
        taken = spread(len(labels), max_tokens // self.prepared.spec.context)
        logits_NC = self._logits(network, split, taken)
        return metrics.classification(logits_NC, labels[taken])

    def _logits(self, network: nn.Module, split: str, taken: Ints) -> Any:
        """Return the mean logits of each text's pieces."""
        texts = Ragged(self.prepared, split)
        owner = np.asarray(self.prepared.array(f"{split}.owner"))
        place = np.full(owner.max() + 1, -1)
        place[taken] = np.arange(len(taken))
        total = np.zeros((len(taken), self.prepared.spec.n_class), dtype=np.float32)
        for rows in in_batches(np.flatnonzero(place[owner] >= 0), texts.lengths):
            ids, mask = pad_rows([texts[row] for row in rows], self._pad)
            logits = network(to_device(ids, network), to_device(mask, network))
            np.add.at(total, place[owner[rows]], logits.float().cpu().numpy())
        pieces = np.bincount(place[owner[place[owner] >= 0]], minlength=len(taken))
        return total / pieces[:, None]

    @property
    def _pad(self) -> int:
        pad = self.prepared.spec.pad_token_id
        assert pad is not None, "prepared with a padding token"
        return pad
