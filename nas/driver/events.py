"""What a running search tells whoever listens: the terminal, a log, a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nas.config import BudgetConfig
from nas.records import Architecture, Job, Numerics, Outcome, Progress, Recipe
from nas.store.rows import CandidateRow


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchStarted:
    """Data, space and workers are ready."""

    study: str
    folder: Path
    resumed: int  # candidates that the study holds already
    slots: int
    numerics: Numerics
    rungs: tuple[int, ...]  # tokens; of the reference where a candidate's differ by its shape
    max_candidates: int | None
    max_seconds: float | None
    elapsed: float  # seconds spent in earlier runs
    objective: str
    budget: BudgetConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateStarted:
    """A job was handed to a worker."""

    number: int
    candidate_id: str
    role: str
    seed: int
    architecture: Architecture
    recipe: Recipe
    columns: Mapping[str, float]
    tokens: int  # trained before, if it goes on from a checkpoint
    goal: int  # tokens to reach

    @classmethod
    def of(cls, row: CandidateRow, job: Job) -> Self:
        """Return the event for a stored candidate and the job that was handed over."""
        return cls(
            number=row.number,
            candidate_id=row.candidate_id,
            role=row.role,
            seed=row.seed,
            architecture=row.architecture,
            recipe=row.recipe,
            columns=row.columns,
            tokens=job.checkpoint.tokens if job.checkpoint else 0,
            goal=job.rungs[job.rung],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateEnded:
    """A job came back."""

    number: int
    role: str
    outcome: Outcome
    value: float | None  # the first objective at the full budget, if measured
    paused_at: float | None  # the first objective at the rung where it waits, if it does
    tried: int  # candidates of the search that are not in training
    best: float | None  # the best of the search so far
    reference: float | None  # the reference's value in the search, once known
    remaining: float | None  # estimated seconds to the end of the search


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalsStarted:
    """The search is over; the best and the reference are trained again from fresh seeds."""

    architectures: int
    trainings: int
    reason: str  # why the search ended


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchEnded:
    """The study has its result, which is stored."""

    summary: Mapping[str, Any]  # see `finals.summarise`


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something worth a line."""

    text: str


Event = (
    SearchStarted
    | CandidateStarted
    | Progress
    | CandidateEnded
    | FinalsStarted
    | SearchEnded
    | Note
)
Listener = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Listen to nothing."""
