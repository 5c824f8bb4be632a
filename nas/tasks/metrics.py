"""Metrics of classification and ranking, and which way each is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Metrics that are better when larger, by the start of their name; all others when smaller.
MAXIMISED = (
    "accuracy", "macro_f1", "top5", "hit_rate", "ndcg", "chrf", "bleu", "throughput",
)  # fmt: skip


def direction(objective: str) -> Literal["minimize", "maximize"]:
    """Return `maximize` or `minimize` for an objective such as `val_loss`."""
    name = objective.removeprefix("val_").removeprefix("test_")
    return "maximize" if name.startswith(MAXIMISED) else "minimize"


def badness(value: float | None, objective: str) -> float:
    """Return a number that is smaller for better values of an objective, infinite for none."""
    if value is None:
        return math.inf
    return -value if direction(objective) == "maximize" else value


def classification(logits_NC: Floats, labels_N: Ints) -> dict[str, float]:
    """Return loss, accuracy, macro F1 and top-5 accuracy.

    Args:
        logits_NC: One row an example.
        labels_N: The right classes.

    Returns:
        `loss` in nats an example, the others 0 to 1. Classes that neither occur nor are predicted
        do not count in `macro_f1`. With five classes or fewer `top5_accuracy` is 1.
    """
    rows = np.arange(len(labels_N))
    shifted = logits_NC - logits_NC.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted, dtype=np.float64).sum(axis=1))
    loss = log_total - shifted[rows, labels_N]
    better = (logits_NC > logits_NC[rows, labels_N][:, None]).sum(axis=1)
    predicted = logits_NC.argmax(axis=1)
    return {
        "loss": float(loss.mean()),
        "accuracy": float((predicted == labels_N).mean()),
        "macro_f1": _macro_f1(predicted, labels_N, logits_NC.shape[1]),
        "top5_accuracy": float((better < 5).mean()),
    }


def _macro_f1(predicted_N: Ints, labels_N: Ints, n_class: int) -> float:
    counts = [np.bincount(found, minlength=n_class) for found in (predicted_N, labels_N)]
    hits = np.bincount(labels_N[predicted_N == labels_N], minlength=n_class)
    total = counts[0] + counts[1]
    present = total > 0
    return float((2 * hits[present] / total[present]).mean())


def ranking_at_10(ranks_N: Ints) -> Mapping[str, float]:
    """Return hit rate and NDCG at 10.

    Args:
        ranks_N: Of each right item among all, the best 0.

    Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", 2018. There is one right
    item, so the ideal gain is 1.
    """
    hit = ranks_N < 10
    gain = np.where(hit, 1 / np.log2(ranks_N + 2.0), 0.0)
    return {"hit_rate_10": float(hit.mean()), "ndcg_10": float(gain.mean())}
