"""What a study of each task looks like: its space, its sizes and the metrics that a loss brings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nas.records import TaskSpec

LABELS = ("no", "yes", "maybe", "other")


def _text_metrics(loss: float) -> dict[str, float]:
    return {"loss": loss, "bits_per_byte": loss / math.log(2)}


def _class_metrics(loss: float) -> dict[str, float]:
    right = math.exp(-0.4 * loss)
    top = min(1.0, right + 0.3)
    return {"loss": loss, "accuracy": right, "macro_f1": 0.97 * right, "top5_accuracy": top}


def _pair_metrics(loss: float) -> dict[str, float]:
    return {"loss": loss, "bleu": 60 * math.exp(-0.4 * loss), "chrf": 80 * math.exp(-0.3 * loss)}


def _rank_metrics(loss: float) -> dict[str, float]:
    return {"loss": loss, "hit_rate_10": math.exp(-loss), "ndcg_10": 0.6 * math.exp(-loss)}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a study of a task looks like."""

    space: str
    data: str
    spec: TaskSpec
    metrics: Callable[[float], dict[str, float]]


TASKS = {
    "language_modeling": Task(
        space="llama_small",
        data="builtin:python-docs",
        spec=TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64),
        metrics=_text_metrics,
    ),
    "text_classification": Task(
        space="bert_small",
        data="builtin:docstrings",
        spec=TaskSpec(
            task="text_classification", head="classify", vocab_size=2000, context=64, labels=LABELS
        ),
        metrics=_class_metrics,
    ),
    "sequence_to_sequence": Task(
        space="blenderbot_small",
        data="builtin:function-names",
        spec=TaskSpec(task="sequence_to_sequence", head="seq2seq", vocab_size=1000, context=64),
        metrics=_pair_metrics,
    ),
    "image_classification": Task(
        space="vit_small",
        data="builtin:digits",
        spec=TaskSpec(
            task="image_classification", head="classify_image", vocab_size=0, context=1,
            labels=LABELS, image_size=28, n_channel=1,
        ),
        metrics=_class_metrics,
    ),
    "sequential_recommendation": Task(
        space="llama_items",
        data="builtin:name-log",
        spec=TaskSpec(
            task="sequential_recommendation", head="causal_lm", vocab_size=500, context=64
        ),
        metrics=_rank_metrics,
    ),
}  # fmt: skip
