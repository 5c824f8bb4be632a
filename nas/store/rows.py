"""What a query returns: one record a candidate, or one a measurement, plain and frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from nas.errors import NotFoundError
from nas.families import shape_class
from nas.families.constants import searched_names
from nas.plugins import is_allowed
from nas.records import (
    Architecture,
    Candidate,
    CheckpointRef,
    Evaluation,
    Numerics,
    Recipe,
    ShapeValue,
    TaskSpec,
)

Cell = ShapeValue | datetime | None

# Fields of a row that are a column of the flat view under their own name.
PLAIN_COLUMNS = (
    "study",
    "number",
    "candidate_id",
    "architecture_id",
    "role",
    "state",
    "family",
    "seed",
    "rung",
    "tokens",
    "seconds",
    "params",
    "flops_per_token",
    "train_memory_bytes",
    "model_path",
    "error",
    "created_at",
    "finished_at",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """One study as it is stored; what cannot change once it exists, and how it stands."""

    study_id: int
    name: str
    state: str  # running, interrupted or finished
    config: Mapping[str, Any]
    identity: Mapping[str, Any]  # what may not change: space, task, data, split, recipe...
    rungs: tuple[int, ...]  # tokens; of the reference where a candidate's differ by its shape
    objectives: tuple[str, ...]
    data_fingerprint: str
    task_spec: TaskSpec
    versions: Mapping[str, str]
    numerics: Numerics | None
    pace: float | None  # equivalent FLOPs a second that a budget in seconds is reckoned by
    summary: Mapping[str, Any] | None  # the result, once there is one
    owner: Mapping[str, Any] | None  # who works on it or did last, where the database is a server's
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRow:
    """One measurement of one candidate."""

    candidate_id: str
    evaluation: Evaluation

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics by flat name: `val_loss`, `test_loss`..."""
        return {
            metric_column(split, name): value
            for split, values in self.evaluation.metrics.items()
            for name, value in values.items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateRow:
    """One candidate with its last measurement (or, where asked for, one row a rung).

    Attributes:
        rung: Index of the measurement; None before the first.
        tokens: Tokens trained at that measurement; before the first, as far as is known.
        seconds: Training time up to that measurement.
        columns: The closed-form columns of the architecture, `params` and others.
        parameters: The sampler's encoding of the shape; none of one outside the space.
        budget: Tokens that it is trained to, where they are not the study's.
        metrics: The measurement's metrics by flat name; numbers that are not finite are left out.
        model_path: The model folder relative to the study's; None: weights were not kept.
    """

    study: str
    number: int
    role: str
    candidate_id: str
    architecture_id: str
    family: str
    shape: Mapping[str, ShapeValue]
    recipe: Recipe
    seed: int
    data_fingerprint: str
    budget: int | None
    state: str
    rung: int | None
    tokens: int
    seconds: float
    params: int | None
    flops_per_token: float | None
    train_memory_bytes: int | None
    columns: Mapping[str, float]
    parameters: Mapping[str, int]
    metrics: Mapping[str, float]
    model_path: str | None
    checkpoint: CheckpointRef | None
    timings: Mapping[str, float]
    error: str
    traceback: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def architecture(self) -> Architecture:
        """The architecture's record."""
        return Architecture(family=self.family, shape=self.shape)

    @property
    def candidate(self) -> Candidate:
        """The candidate's record, as it was proposed."""
        return Candidate(
            architecture=self.architecture,
            recipe=self.recipe,
            seed=self.seed,
            data_fingerprint=self.data_fingerprint,
            budget=self.budget,
        )

    def flat(self) -> dict[str, Cell]:
        """Return every column that tables, `where` and data frames know, by name.

        Later groups win a name: recipe, shape (with the family's defaults), closed-form columns,
        metrics, the row's own fields.
        """
        own: dict[str, Cell] = {name: getattr(self, name) for name in PLAIN_COLUMNS}
        recipe = {name: getattr(self.recipe, name) for name in _RECIPE_FIELDS}
        # A row is content, and asking for it runs no code of the user's own.
        defaults = _shape_defaults(self.family) if is_allowed(self.family) else {}
        shape = {**defaults, **self.shape}
        return {**recipe, **shape, **self.columns, **self.metrics, **own}


_RECIPE_FIELDS = tuple(f.name for f in dataclasses.fields(Recipe))


def metric_column(split: str, name: str) -> str:
    """Return the flat name of a metric: `val_loss`; without a split the name alone."""
    return f"{split}_{name}" if split else name


@cache
def _shape_defaults(family: str) -> dict[str, Any]:
    """Return the defaults of a family's fields; nothing for a family that is not installed."""
    try:
        kind = shape_class(family)
    except NotFoundError:
        return {}
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every Shape is a dataclass
    searched = {name: defaults[name] for name in searched_names(kind)}
    return {name: value for name, value in searched.items() if value is not dataclasses.MISSING}
