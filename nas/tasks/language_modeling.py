"""Language modelling: predict each next token; loss in nats a token and bits a byte.

Shapes: B batch, T context, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.data import DataRequest, Option, PreparedData
from nas.data.language_modeling import OPTIONS, TASK, prepare_language_modeling
from nas.records import Recipe
from nas.tasks.batches import EVAL_BATCH_TOKENS, token_loss

if TYPE_CHECKING:
    from torch import Tensor, nn


class LanguageModeling:
    """Batches, loss and metrics over streams of tokens.

    Training reads the stream in windows of T tokens without replacement: each epoch cuts it at a
    fresh offset and shuffles the windows, so that every token is seen once an epoch.

    Args:
        prepared: The data folder.
        recipe: Gives T, B and label smoothing.
        seed: Decides the order of the windows.
    """

    name: ClassVar[str] = TASK
    head: ClassVar[str] = "causal_lm"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "bits_per_byte")
    description: ClassVar[str] = "predict the next token of text; loss in nats a token"
    options: ClassVar[Mapping[str, Option]] = OPTIONS
    context: ClassVar[int | None] = None
    recipe_fields: ClassVar[frozenset[str]] = frozenset({"label_smoothing"})

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        self._tokens = prepared.array("train.ids")
        self._windows = max(1, (len(self._tokens) - 1) // recipe.context - 1)
        self._epoch = -1
        self._starts: NDArray[np.int64] = np.empty(0, np.int64)

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn text into token arrays (see `data.language_modeling`)."""
        return prepare_language_modeling(request, folder)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the windows of a step, each with the token after it, shape (B, T + 1)."""
        size = self.recipe.batch
        starts = [self._start(number) for number in range(step * size, (step + 1) * size)]
        return _cut(self._tokens, np.array(starts), self.recipe.context)

    def _start(self, number: int) -> int:
        epoch, index = divmod(number, self._windows)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, epoch])
            slack = len(self._tokens) - 1 - self._windows * self.recipe.context
            offset = int(rng.integers(slack + 1))
            self._starts = rng.permutation(self._windows) * self.recipe.context + offset
            self._epoch = epoch
        return int(self._starts[index])

    def loss(self, network: nn.Module, batch: NDArray[np.int64]) -> Tensor:
        """Return the mean cross-entropy of the windows in nats a token."""
        return _mean_loss(network, batch, smoothing=self.recipe.label_smoothing)

    def weight(self, batch: NDArray[np.int64]) -> float:
        """Return how many tokens are predicted."""
        return float(len(batch) * self.recipe.context)

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> dict[str, float]:
        """Return `loss` (nats a token) and `bits_per_byte` over non-overlapping windows.

        Every token of the windows read is predicted once, each from the tokens before it in its
        window. At most `max_tokens` are read, in windows spread evenly over the split.
        """
        self.prepared.need(split)
        tokens, total = self.prepared.array(f"{split}.ids"), 0.0
        starts, context = eval_windows(len(tokens), self.recipe.context, max_tokens)
        rows = max(1, EVAL_BATCH_TOKENS // context)
        for first in range(0, len(starts), rows):
            batch = _cut(tokens, starts[first : first + rows], context)
            total += float(_mean_loss(network, batch)) * len(batch)
        loss = total / len(starts)
        bits = loss / math.log(2) / self.prepared.bytes_per_token(split)
        return {"loss": loss, "bits_per_byte": bits}


def eval_windows(length: int, context: int, max_tokens: int) -> tuple[NDArray[np.int64], int]:
    """Return the starts of the windows that a measurement reads, and their length.

    Windows follow one another without overlap; where they hold more than `max_tokens`, an evenly
    spread part of them is taken.
    """
    count = (length - 1) // context
    taken = min(count, max(1, max_tokens // context))
    starts: NDArray[np.int64] = np.arange(taken, dtype=np.int64) * count // taken * context
    return starts, context


def _cut(tokens: NDArray[np.uint16], starts: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return ids


def _mean_loss(network: nn.Module, batch: NDArray[np.int64], *, smoothing: float = 0.0) -> Tensor:
    import torch

    device = next(network.parameters()).device
    ids = torch.from_numpy(batch).to(device, non_blocking=True)
    return token_loss(network(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), smoothing)
