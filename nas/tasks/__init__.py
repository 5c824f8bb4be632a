"""The table of tasks. A task knows its data, its batches, its loss and its metrics.

Adding a task is a module and a row in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from nas.data import DataRequest, Option, PreparedData
from nas.plugins import resolve
from nas.records import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

TASKS: dict[str, str] = {
    "language_modeling": "nas.tasks.language_modeling:LanguageModeling",
    "text_classification": "nas.tasks.text_classification:TextClassification",
    "sequence_to_sequence": "nas.tasks.sequence_to_sequence:SequenceToSequence",
    "image_classification": "nas.tasks.image_classification:ImageClassification",
    "sequential_recommendation": ("nas.tasks.sequential_recommendation:SequentialRecommendation"),
}


# Recipe fields that mean something to some tasks only.
SPECIAL_FIELDS = ("token_dropout", "label_smoothing", "class_weights", "augment")


class Task(Protocol):
    """What every task offers.

    Attributes:
        name: The task's name, a key of `TASKS`.
        head: The head that its models carry.
        metrics: Names of the metrics that `evaluate` returns, the loss first. Larger ones are
            better if their name begins as one of `metrics.MAXIMISED`.
        description: One line for `nas tasks`.
        options: What may stand beside `name` and `data` in a study file's `task:` section.
        context: The only context that the task has, or None: the recipe's.
        recipe_fields: Those of `SPECIAL_FIELDS` that it obeys; others are refused in its studies.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    description: ClassVar[str]
    options: ClassVar[Mapping[str, Option]]
    context: ClassVar[int | None]
    recipe_fields: ClassVar[frozenset[str]]

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None: ...

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn the user's data into a folder that training reads (see `data.prepared`)."""
        ...

    def batch(self, step: int) -> Any:
        """Return the training batch of a step: a function of (seed, step) alone, on the CPU."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the mean training loss of a batch, a scalar on the network's device."""
        ...

    def weight(self, batch: Any) -> float:
        """Return over how much the loss of a batch is a mean, so that parts add up to a whole.

        Args:
            batch: What `batch` returned, or some of its rows: an array of one row an example, or
                a tuple of such arrays.
        """
        ...

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> Mapping[str, float]:
        """Measure a split; reads the same examples every time.

        Args:
            network: In eval mode.
            split: `val` or `test`.
            max_tokens: Tokens to read at most, spread evenly over the split.
        """
        ...


def task_class(name: str) -> type[Task]:
    """Return the class of a task.

    Args:
        name: A key of `TASKS`, or `package.module:Name` for one of the user's own.

    Raises:
        NotFoundError: If the task is unknown.
        UntrustedError: If it is one of the user's own that nobody has vouched for.
    """
    return cast(type[Task], resolve(TASKS, name, what="task"))
