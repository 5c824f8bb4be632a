"""What a worker is handed: a candidate's job, with the study's data, rungs and arithmetic."""

from __future__ import annotations

from dataclasses import replace

from nas.driver.budgets import rungs_of, test_tokens
from nas.driver.ledger import CHECKPOINTS, Ledger
from nas.driver.opening import OpenedStudy, eval_tokens
from nas.records import MICRO_BATCH, Architecture, Candidate, Job, Recipe
from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.store.writes import MODELS
from nas.tasks.metrics import badness

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
            micro_batch=self._micro_batch(row),
        )

    def again(self, row: CandidateRow, job: Job) -> Next:
        """Return the job that takes the place of one that failed, from the last checkpoint.

        Args:
            row: The candidate.
            job: What is to be done otherwise.
        """
        row, fresh = self.begin(row.candidate, row.number, row.role, job.rung)
        return row, replace(fresh, micro_batch=job.micro_batch)

    def _micro_batch(self, row: CandidateRow) -> int | None:
        """Return in what parts of a batch the shape was trained where the whole did not fit."""
        same = self._ledger.of_shape(row.architecture_id)
        found = [one.metrics[MICRO_BATCH] for one in same if MICRO_BATCH in one.metrics]
        return int(min(found)) if found else None

    def _keep_better_than(self) -> float | None:
        """Return the objective that a model must beat to be among those kept, if it is measured."""
        objective = self._ledger.objective
        if objective != ranking.first_measured(self._record.objectives):
            return None
        kept = [
            row.metrics[objective]
            for row in self._ledger.models()
            if row.role == "search" and row.state == "complete"
        ]
        best = sorted(kept, key=lambda value: badness(value, objective))
        return best[self._config.keep - 1] if len(best) >= self._config.keep else None
