"""The table of loggers, which show a search elsewhere too. Adding one is a module and a row.

A logger is told of candidates, their metrics and the result. It decides nothing, and one that
fails is left without harm to the search (see `driver.loggers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nas.errors import InputError
from nas.plugins import resolve

LOGGERS: dict[str, str] = {
    "tensorboard": "nas.loggers.tensorboard:TensorBoardLogger",
    "mlflow": "nas.loggers.mlflow:MlflowLogger",
}
# What each of them needs: a module, which the extra of the logger's name installs.
NEEDS = {"tensorboard": "tensorboard", "mlflow": "mlflow"}

Value = int | float | str | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A candidate that begins, or goes on.

    Attributes:
        candidate_id: Names it in all that is told of it.
        architecture_id: Its architecture's; a result names winner and reference so.
        number: Its place in the order of proposals; below 0 for shapes that no search proposed.
        role: One of `records.ROLES`.
        seed: Of its weights and batches.
        hyperparameters: Its shape, recipe and size, by name.
        start: Tokens that it has seen: what was told beyond them is told again.
    """

    candidate_id: str
    architecture_id: str
    number: int
    role: str
    seed: int
    hyperparameters: Mapping[str, Value]
    start: int

    @property
    def name(self) -> str:
        """What people call it: `#7`, or `#7 finalist seed 2`."""
        number = f"#{self.number}" if self.number >= 0 else "#"
        return number if self.role == "search" else f"{number} {self.role} seed {self.seed}"


class Logger(Protocol):
    """Shows a search elsewhere. All methods are called from one thread, which is the logger's own.

    A search that is resumed goes on in what the earlier runs logged: nothing may be there twice.

    Args:
        study: The study's name.
        folder: The study's folder.
    """

    def __init__(self, *, study: str, folder: Path) -> None: ...

    def begin(self, run: Run) -> None:
        """Take in a candidate that begins, or goes on from `run.start`."""
        ...

    def log(self, candidate_id: str, tokens: int, values: Mapping[str, float]) -> None:
        """Take in metrics of a candidate at so many tokens; all are finite."""
        ...

    def end(self, candidate_id: str, state: str, error: str) -> None:
        """Take in how a job of a candidate ended, in a state of `records.STATES`."""
        ...

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take in the study's result (see `finals.summarise`)."""
        ...

    def close(self) -> None:
        """Write what is left; nothing follows."""
        ...


def logger_class(name: str) -> type[Logger]:
    """Return a logger's class by its name in the table, or the user's own `package.module:Name`.

    Raises:
        NotFoundError: If there is none.
        UntrustedError: If it is code of the user's own that nobody has vouched for.
        InputError: If what it needs is not installed.
    """
    module = NEEDS.get(name)
    if module is not None and find_spec(module) is None:
        raise InputError(
            f"logger '{name}': module '{module}' is not installed; "
            f"run: pip install 'transformer-nas[{name}]'"
        )
    found: type[Logger] = resolve(LOGGERS, name, what="logger")
    return found


def means_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the finals' figures of winner and reference by name, such as `winner_test_loss`."""
    found: dict[str, float] = {}
    for who in ("winner", "reference"):
        for one in summary.get("finalists") or ():
            if summary.get(who) is not None and one["architecture_id"] == summary[who]:
                metrics = one["metrics"].items()
                found |= {f"{who}_{name}": sample["mean"] for name, sample in metrics}
    return found
