"""A task outside nas: go on with a series of numbers, one a line of a text file.

Named `own.task:Forecasting`. Numbers become levels, each of which holds as many numbers of the
train split as any other; a decoder predicts the next level. Beside the loss it is measured how far
the likeliest level is from the truth, in the unit of the series.

Shapes: B batch, T context.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.data import DataRequest, Option, PreparedData, bpe
from nas.data.prepared import Draft, prepare_once
from nas.data.request import WHOLE
from nas.data.sources import local_path, signature
from nas.errors import DataError
from nas.records import Recipe, TaskSpec
from nas.tasks.batches import to_device, token_loss
from nas.tasks.language_modeling import eval_windows

AT_ONCE = 64  # windows of a measuring batch


class Forecasting:
    """Batches, loss and metrics over a series."""

    name: ClassVar[str] = "own.task:Forecasting"
    head: ClassVar[str] = "causal_lm"  # which families serve it, and what they are called with
    metrics: ClassVar[tuple[str, ...]] = ("loss", "error")  # the loss first; smaller is better
    description: ClassVar[str] = "go on with a series of numbers; a text file, one a line"
    options: ClassVar[Mapping[str, Option]] = {
        "levels": Option(default=64, minimum=2, maximum=4096, help="how finely numbers are told")
    }
    context: ClassVar[int | None] = None  # the recipe's
    recipe_fields: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        self._ids = prepared.array("train.ids")

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn the file into arrays, once a study; splits are one after the other in time."""
        return prepare_once(request, folder, _draft)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return windows of the series and the number after each, shape (B, T + 1)."""
        rng = np.random.default_rng([self.seed, step])  # of seed and step alone
        starts = rng.integers(len(self._ids) - self.recipe.context, size=self.recipe.batch)
        return _cut(self._ids, starts, self.recipe.context)

    def loss(self, network: nn.Module, batch: NDArray[np.int64]) -> Tensor:
        """Return the mean cross-entropy in nats a number."""
        ids = to_device(batch, network)
        return token_loss(network(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), 0.0)

    def weight(self, batch: NDArray[np.int64]) -> float:
        """Return how many numbers are predicted."""
        return float(batch[:, 1:].size)

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> Mapping[str, float]:
        """Return the loss, and the mean distance of the likeliest level from the truth."""
        self.prepared.need(split)
        ids, middles = self.prepared.array(f"{split}.ids"), self.prepared.array("middles")
        starts, context = eval_windows(len(ids), self.recipe.context, max_tokens)
        loss = error = 0.0
        for first in range(0, len(starts), AT_ONCE):
            batch = _cut(ids, starts[first : first + AT_ONCE], context)
            likeliest = network(to_device(batch[:, :-1], network)).argmax(dim=-1).cpu().numpy()
            loss += float(self.loss(network, batch)) * len(batch)
            error += np.abs(middles[likeliest] - middles[batch[:, 1:]]).mean() * len(batch)
        return {"loss": loss / len(starts), "error": float(error) / len(starts)}


def _cut(ids: NDArray[Any], starts: NDArray[np.int64], context: int) -> NDArray[np.int64]:
    return np.asarray(ids[starts[:, None] + np.arange(context + 1)], dtype=np.int64)


def _draft(request: DataRequest) -> Draft:
    if request.is_given:
        raise DataError("task.data: got a file for each split, expected one series")
    path = local_path(request.sources[WHOLE])
    try:
        series = np.loadtxt(path, ndmin=1)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a number a line: {error}") from error
    cut = request.split.cut(len(series))
    shortest = min(len(series[part]) for part in cut.values())
    if shortest <= request.context:
        raise DataError(f"{path}: a split of {shortest} numbers, more than context are needed")
    levels, train = int(request.options["levels"]), series[cut["train"]]
    edges = np.quantile(train, np.arange(1, levels) / levels)
    ids = np.searchsorted(edges, series).astype("<u2")
    parts = {f"{name}.ids": ids[part] for name, part in cut.items()}
    counts = {name: len(ids[part]) for name, part in cut.items()}
    words = bpe.word_tokenizer([str(level) for level in range(levels)], ())
    return Draft(
        spec=TaskSpec(
            task=Forecasting.name,
            head=Forecasting.head,
            vocab_size=levels,
            context=request.context,
        ),
        source_sha256=signature(request.sources),
        examples=counts,
        tokens=counts,
        arrays={**parts, "middles": np.quantile(train, (np.arange(levels) + 0.5) / levels)},
        files=bpe.tokenizer_files(request, words),  # a model folder holds what reads its inputs
        tokenizer=f"{levels} levels",
    )
