"""What a worker is handed: a candidate's job, with the study's data, rungs and arithmetic."""

from __future__ import annotations

from itertools import islice

from nas.driver.budgets import rungs_of, test_tokens
from nas.driver.ledger import CHECKPOINTS, MODELS, Ledger
from nas.driver.opening import OpenedStudy, eval_tokens
from nas.records import Architecture, Candidate, Job, Recipe
from nas.store import ranking
from nas.store.rows import CandidateRow

Next = tuple[CandidateRow, Job]


class Jobs:
    """Makes candidates and their jobs for one study.

    Args:
        opened: The study.
        ledger: Where candidates are stored.
    """

    def __init__(self, opened: OpenedStudy, ledger: Ledger) -> None:
        self._opened, self._ledger = opened, ledger
        self._config, self._record = opened.config, opened.record

    def candidate(self, architecture: Architecture, recipe: Recipe, seed: int) -> Candidate:
        """Return the candidate of a shape on the study's data."""
        return Candidate(
            architecture=architecture,
            recipe=recipe,
            seed=seed,
            data_fingerprint=self._record.data_fingerprint,
        )

    def begin(self, candidate: Candidate, number: int, role: str, goal: int) -> Next:
        """Store a candidate as running and return its job.

        Args:
            candidate: A new one, or one that goes on.
            number: Its place in the order of proposals.
            role: As what it is trained.
            goal: The rung that it is trained to.
        """
        row = self._ledger.add(candidate, number=number, role=role)
        return row, self._job(row, goal)

    def _job(self, row: CandidateRow, goal: int) -> Job:
        folder, record = self._opened.folder, self._record
        final = row.role != "search"
        assert record.numerics is not None, "chosen before"
        return Job(
            study=record.name,
            candidate=row.candidate,
            task_spec=self._opened.spec,
            data=str(self._opened.prepared.folder),
            rungs=rungs_of(record, row.recipe, row.columns),
            rung=goal,
            numerics=record.numerics,
            eval_tokens=eval_tokens(record.rungs),
            test_tokens=test_tokens(record),
            splits=("val", "test") if final and self._config.split.test else ("val",),
            checkpoint=self._ledger.checkpoint_of(row),
            checkpoint_dir=str(folder / CHECKPOINTS),
            model_dir=str(folder / MODELS / row.candidate_id),
            objective=ranking.first_measured(record.objectives),
            keep_better_than=None if final else self._keep_better_than(),
            latency=self._config.latency and self._config.latency.spec,
            keep_uncooled=final,
        )

    def _keep_better_than(self) -> float | None:
        """Return the objective that a model must beat to be among those kept, if it is measured."""
        objective = self._ledger.objective
        if objective != ranking.first_measured(self._record.objectives):
            return None
        kept = (row for row in self._ledger.complete() if row.model_path)
        last = next(islice(kept, self._config.keep - 1, None), None)
        return None if last is None else last.metrics[objective]
