"""Sequential recommendation: the next item of a user's history, among all items.

Shapes: B batch, T longest history of the batch, V items and padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nas.data import DataRequest, Option, PreparedData
from nas.data.rows import Ragged
from nas.data.sequential_recommendation import (
    OPTIONS,
    PAD,
    TASK,
    prepare_sequential_recommendation,
)
from nas.records import IGNORED, Recipe
from nas.tasks import metrics
from nas.tasks.batches import (
    Ints,
    Order,
    in_batches,
    pad_rows,
    spread,
    targets_weight,
    to_device,
    token_loss,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


class SequentialRecommendation:
    """Batches, loss and metrics over histories of items.

    An example of training is a piece of a history, at most as long as the context, that begins at
    a place drawn anew each time; every item of it is predicted from those before. A measurement
    predicts the last item alone, ranked among all items that the history has not.

    Args:
        prepared: The data folder.
        recipe: Gives batch, context, label smoothing and the share of items that are hidden.
        seed: Decides order, pieces and hiding.
    """

    name: ClassVar[str] = TASK
    head: ClassVar[str] = "causal_lm"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "hit_rate_10", "ndcg_10")
    description: ClassVar[str] = "predict a user's next item; a log of user, item and time"
    options: ClassVar[Mapping[str, Option]] = OPTIONS
    context: ClassVar[int | None] = None
    recipe_fields: ClassVar[frozenset[str]] = frozenset({"token_dropout", "label_smoothing"})

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        self._histories = Ragged(prepared, "train")
        # A long history is as many examples as it has pieces, so that each item counts alike; one
        # item alone is none: there is nothing to predict.
        lengths = self._histories.lengths
        pieces = np.maximum(1, lengths // recipe.context) * (lengths > 1)
        self._owner = np.repeat(np.arange(len(self._histories)), pieces)
        self._order = Order(len(self._owner), recipe.batch, seed)

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn a log into arrays (see `data.sequential_recommendation`)."""
        return prepare_sequential_recommendation(request, folder)

    def batch(self, step: int) -> tuple[Ints, Ints]:
        """Return items, (B, T), and the item after each; padding is no target."""
        rng = np.random.default_rng([self.seed, 1, step])
        rows = [self._piece(self._histories[self._owner[row]], rng) for row in self._order(step)]
        ids, mask = pad_rows(rows, PAD)
        items, targets = ids[:, :-1], np.where(mask[:, 1:] == 1, ids[:, 1:], IGNORED)
        if self.recipe.token_dropout:
            hidden = rng.random(items.shape) < self.recipe.token_dropout
            items = np.where(hidden, PAD, items)
        return items, targets

    def _piece(self, history: Any, rng: np.random.Generator) -> Any:
        spare = len(history) - (self.recipe.context + 1)
        start = int(rng.integers(spare + 1)) if spare > 0 else 0
        return history[start : start + self.recipe.context + 1]

    def loss(self, network: nn.Module, batch: tuple[Ints, Ints]) -> Tensor:
        """Return the mean cross-entropy of the next items in nats."""
        items, targets = (to_device(array, network) for array in batch)
        logits_MV = network(items).flatten(0, 1)
        return token_loss(logits_MV, targets.flatten(), self.recipe.label_smoothing)

    def weight(self, batch: tuple[Ints, Ints]) -> float:
        """Return how many items are predicted."""
        return targets_weight(batch[1])

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> Mapping[str, float]:
        """Return the loss of each history's last item, and hit rate and NDCG at 10.

        Args:
            network: In eval mode.
            split: `val` or `test`.
            max_tokens: Items to read at most, of users spread evenly over all.
        """
        self.prepared.need(split)
        histories, context = Ragged(self.prepared, split), self.prepared.spec.context
        lengths = np.minimum(histories.lengths - 1, context)
        losses, ranks = [], []
        for rows in in_batches(spread(len(histories), max_tokens // context), lengths):
            found = [np.asarray(histories[row]) for row in rows]
            logits = last_logits(network, [history[:-1][-context:] for history in found])
            right = np.array([history[-1] for history in found], dtype=np.int64)
            losses.append(_losses(logits, right))
            ranks.append(_ranks(logits, right, [history[:-1] for history in found]))
        return {
            "loss": float(np.concatenate(losses).mean()),
            **metrics.ranking_at_10(np.concatenate(ranks)),
        }


def last_logits(network: nn.Module, histories: list[Any]) -> Any:
    """Return the logits after each history's last item, (B, V), without those of padding."""
    import torch

    ids, mask = pad_rows(histories, PAD)
    logits_BTV = network(to_device(ids, network))
    last = to_device(mask.sum(axis=1) - 1, network)
    rows = torch.arange(len(ids), device=last.device)
    logits_BV = logits_BTV[rows, last].float().cpu().numpy()
    logits_BV[:, PAD] = -np.inf
    return logits_BV


def _losses(logits_BV: Any, right_B: Ints) -> Any:
    top = logits_BV.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits_BV - top, dtype=np.float64).sum(axis=1))
    return total - (logits_BV[np.arange(len(right_B)), right_B] - top[:, 0])


def _ranks(logits_BV: Any, right_B: Ints, seen: list[Any]) -> Ints:
    """Return how many unseen items stand above the right one; of equals half do."""
    rows = np.arange(len(right_B))
    wanted = logits_BV[rows, right_B][:, None]
    logits = logits_BV.copy()
    for row, items in enumerate(seen):
        logits[row, items] = -np.inf
    above, equal = (logits > wanted).sum(axis=1), (logits == wanted).sum(axis=1)
    repeated = np.array(
        [right in items for right, items in zip(right_B, seen, strict=True)], dtype=np.int64
    )
    ranks: Ints = above + (equal - 1 + repeated) // 2
    return ranks
