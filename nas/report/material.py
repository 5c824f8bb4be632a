"""What a report is made of: a study's rows and measurements, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas.report.clock import Clock
from nas.store import ranking
from nas.store.rows import CandidateRow, EvaluationRow, StudyRecord
from nas.study import Study
from nas.tasks.metrics import direction

LOSS = "val_loss"  # every task measures it, whatever it is searched for


@dataclass(frozen=True, kw_only=True)
class Material:
    """A study as it was when it was read.

    Attributes:
        study: The study.
        rows: All its candidates, best first; facts name one by its place here.
        measured: All measurements of each candidate, by its id, lowest rung first.
        summary: The result that the search stored; empty before it ended.
    """

    study: Study
    rows: Sequence[CandidateRow]
    measured: Mapping[str, Sequence[EvaluationRow]]
    summary: Mapping[str, Any]

    @property
    def record(self) -> StudyRecord:
        """The study's record."""
        return self.study.record

    @property
    def objective(self) -> str:
        """The objective that ranks."""
        return self.study.objectives[0]

    @property
    def maximised(self) -> bool:
        """Whether more of the objective is better."""
        return direction(self.objective) == "maximize"

    @property
    def finished(self) -> bool:
        """Whether the search came to its end, the finals included."""
        return self.record.state == "finished"

    @cached_property
    def place(self) -> Mapping[str, int]:
        """The place of each candidate among `rows`, by its id."""
        return {row.candidate_id: at for at, row in enumerate(self.rows)}

    @cached_property
    def search(self) -> Sequence[CandidateRow]:
        """The candidates of the search proper, best first."""
        return [row for row in self.rows if row.role == "search"]

    @cached_property
    def complete(self) -> Sequence[CandidateRow]:
        """Those of the search that have the objective at the full budget, best first."""
        done = [row for row in self.search if row.state == "complete"]
        return [row for row in done if self.value(row) is not None]

    @cached_property
    def clock(self) -> Clock:
        """The search's time."""
        return Clock(self.record.created_at, self.rows)

    def value(self, row: CandidateRow, column: str | None = None) -> float | None:
        """Return a number of a candidate: the objective at its last measurement, or a column."""
        return ranking.number_of(row, column or self.objective)


def read(study: Study) -> Material:
    """Read a study; nothing in it is changed."""
    measured: dict[str, list[EvaluationRow]] = {}
    for one in study.evaluations():
        measured.setdefault(one.candidate_id, []).append(one)
    return Material(
        study=study,
        rows=tuple(study.trials()),
        measured=measured,
        summary=study.summary() or {},
    )


def rounded(value: float | None, digits: int = 8) -> float | None:
    """Return a number with so many significant digits: what a page shows, in fewer bytes."""
    return None if value is None else float(f"{value:.{digits}g}")
