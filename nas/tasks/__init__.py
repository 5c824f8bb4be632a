"""The table of tasks. A task knows its data, its batches, its loss and its metrics.

Adding a task is a module and a row in `TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nas.data import PreparedData, Split
from nas.errors import NotFoundError, nearest
from nas.records import Recipe, TaskSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

TASKS: dict[str, str] = {
    "language_modeling": "nas.tasks.language_modeling:LanguageModeling",
}


class Task(Protocol):
    """What every task offers.

    Attributes:
        name: The task's name, a key of `TASKS`.
        head: The head that its models carry.
        metrics: Names of the metrics that `evaluate` returns, the loss first.
        description: One line for `nas tasks`.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    description: ClassVar[str]

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None: ...

    @staticmethod
    def prepare(source: str, folder: Path, *, split: Split, context: int) -> PreparedData:
        """Turn the user's data into a folder that training reads; see `nas.data`."""
        ...

    @staticmethod
    def spec(prepared: PreparedData) -> TaskSpec:
        """Return what a model for this data must fit."""
        ...

    def batch(self, step: int) -> Any:
        """Return the training batch of a step: a function of (seed, step) alone, on the CPU."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the mean training loss of a batch, a scalar on the network's device."""
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

    Raises:
        NotFoundError: If the task is unknown.
    """
    if name not in TASKS:
        raise NotFoundError(
            f"unknown task '{name}'; known: {', '.join(TASKS)}{nearest(name, TASKS)}"
        )
    loaded: type[Task] = _load(TASKS[name])
    return loaded


@cache
def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
