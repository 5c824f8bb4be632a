"""Which examples a step reads, and rows of unequal length as one array.

Shapes: B batch, T longest row of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.records import IGNORED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas.tasks import Task

Ints = NDArray[np.int64]


# Batches among which examples are sorted by length: fewer pads, and every epoch another company.
POOL = 16
# Tokens of one measuring batch: large enough for full products, small enough for a cache.
EVAL_BATCH_TOKENS = 4096


class Order:
    """The examples of each step: a function of (seed, step), each once an epoch.

    What is left of an epoch beyond whole batches is left out; another part in each epoch.

    Args:
        count: Examples.
        batch: Examples a step.
        seed: Decides the order.
        lengths: Of each example; those of a batch are then of similar length.
    """

    def __init__(self, count: int, batch: int, seed: int, lengths: Ints | None = None) -> None:
        self._count, self._batch, self._seed, self._lengths = count, batch, seed, lengths
        self._epoch = -1
        self._batches: NDArray[np.int64] = np.empty((0, 0), np.int64)

    def __call__(self, step: int) -> Ints:
        """Return the numbers of a step's examples."""
        epoch, index = divmod(step, max(1, self._count // self._batch))
        if epoch != self._epoch:
            self._batches, self._epoch = self._shuffled(epoch), epoch
        rows: Ints = self._batches[index]
        return rows

    def _shuffled(self, epoch: int) -> Ints:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._count)
        if self._count < self._batch:  # an epoch is less than a step: examples repeat
            return np.resize(order, self._batch)[None]
        order = order[: self._count // self._batch * self._batch]
        if self._lengths is not None:
            pools = range(0, len(order), POOL * self._batch)
            parts = [order[start : start + POOL * self._batch] for start in pools]
            sorted_parts = [part[np.argsort(self._lengths[part], kind="stable")] for part in parts]
            order = np.concatenate(sorted_parts)
        return rng.permutation(order.reshape(-1, self._batch))


def pad_rows(rows: Sequence[NDArray[Any]], pad: int) -> tuple[Ints, Ints]:
    """Return rows below each other, (B, T), filled up at the end, and the mask of their tokens."""
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask == 1] = np.concatenate(rows)
    return ids, mask


def spread(count: int, most: int) -> Ints:
    """Return at most `most` of `count` rows, spread evenly."""
    taken = max(1, min(count, most))
    rows: Ints = np.arange(taken, dtype=np.int64) * count // taken
    return rows


def in_batches(rows: Ints, lengths: Ints) -> Iterator[Ints]:
    """Yield groups of rows of similar length, of about `EVAL_BATCH_TOKENS` tokens each."""
    order = rows[np.argsort(lengths[rows], kind="stable")]
    start = 0
    while start < len(order):
        size = max(1, EVAL_BATCH_TOKENS // max(1, int(lengths[order[start]])))
        group = order[start : start + size]
        fits = max(1, EVAL_BATCH_TOKENS // max(1, int(lengths[group[-1]])))
        yield group[:fits]
        start += min(fits, len(group))


def in_parts(task: Task, batch: Any, size: int) -> list[tuple[Any, float]]:
    """Return a batch in parts, each with its share of the batch's mean loss.

    The shares' sum is 1, so that the parts' losses, each times its share, add up to the batch's
    loss, and their gradients to its gradient.

    Args:
        task: Whose batch it is.
        batch: An array of one row an example, or a tuple of such arrays.
        size: Examples of a part at most.

    Raises:
        MemoryError: If the task does not say over how much its losses are means. Parts are asked
            for where memory ran out, so this is what remains to be said.
    """
    if not hasattr(task, "weight"):
        raise MemoryError(
            f"task {type(task).__name__} has no method 'weight', so that its batch cannot be "
            "trained on in parts"
        )
    parts = _cut_rows(batch, size)
    weights = [task.weight(part) for part in parts]
    total = sum(weights)
    return [(part, one / total) for part, one in zip(parts, weights, strict=True) if one]


def _cut_rows(batch: Any, size: int) -> list[Any]:
    if not isinstance(batch, tuple):
        return [batch[start : start + size] for start in range(0, len(batch), size)]
    make = getattr(batch, "_make", tuple)  # of a named tuple
    columns = [_cut_rows(array, size) for array in batch]
    return [make(row) for row in zip(*columns, strict=True)]


def device_of(network: nn.Module) -> Any:
    """Return where a network's weights are."""
    return next(network.parameters()).device


def to_device(array: NDArray[Any], network: nn.Module) -> Tensor:
    """Return an array as a tensor beside a network's weights."""
    import torch

    return torch.from_numpy(array).to(device_of(network), non_blocking=True)


def token_loss(logits_MV: Tensor, targets_M: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy in nats over the targets that are not `IGNORED`.

    Args:
        logits_MV: One row a token.
        targets_M: The right tokens.
        smoothing: Share of each target that is spread over the vocabulary.
    """
    import torch.nn.functional as F

    from nas.families.cpu_training import trains_on_cpu
    from nas.families.cross_entropy import mean_cross_entropy

    if trains_on_cpu(logits_MV):
        return mean_cross_entropy(logits_MV, targets_M, smoothing)
    return F.cross_entropy(
        logits_MV.float(), targets_M, ignore_index=IGNORED, label_smoothing=smoothing
    )


def class_loss(logits_BC: Tensor, labels_B: Tensor, smoothing: float, weights: Any) -> Tensor:
    """Return the mean cross-entropy in nats an example, with smoothing and class weights.

    Args:
        logits_BC: One row an example.
        labels_B: The right classes.
        smoothing: Share of each target that is spread over all classes.
        weights: Of each class, an array; None: all alike.
    """
    import torch
    import torch.nn.functional as F

    weight = None if weights is None else torch.from_numpy(weights).to(logits_BC.device)
    return F.cross_entropy(logits_BC.float(), labels_B, weight=weight, label_smoothing=smoothing)


def examples_weight(labels_B: Ints, weights: Any) -> float:
    """Return over how much `class_loss` is a mean: examples, or the weights of their classes."""
    return float(len(labels_B) if weights is None else weights[labels_B].sum())


def targets_weight(targets: Ints) -> float:
    """Return over how much `token_loss` is a mean: the targets that count."""
    return float((targets != IGNORED).sum())


def balanced_weights(labels_N: Ints, n_class: int) -> NDArray[np.float32]:
    """Return a weight for each class, inverse to how often it occurs, 1 on average."""
    counts = np.maximum(1, np.bincount(labels_N, minlength=n_class))
    weights: NDArray[np.float32] = (len(labels_N) / (n_class * counts)).astype(np.float32)
    return weights
