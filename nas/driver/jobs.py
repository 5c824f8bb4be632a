"""What a worker is handed: a candidate's job, with the study's data, rungs and arithmetic."""

from __future__ import annotations

from nas.device import check_device_name
from nas.driver.ledger import CHECKPOINTS, MODELS, Ledger
from nas.driver.opening import WORKER_THREADS, OpenedStudy, eval_tokens
from nas.driver.proposing import Proposals
from nas.executors import Executor
from nas.records import Architecture, Candidate, Job, Numerics, Recipe
from nas.store import ranking
from nas.store.rows import CandidateRow

Next = tuple[CandidateRow, Job]


class Jobs:
    """Makes candidates and their jobs for one study.

    Args:
        opened: The study.
        ledger: Where candidates are stored.
        numerics: Their arithmetic.
    """

    def __init__(self, opened: OpenedStudy, ledger: Ledger, numerics: Numerics) -> None:
        self._opened, self._ledger, self._numerics = opened, ledger, numerics
        self._config, self._record = opened.config, opened.record

    def candidate(self, architecture: Architecture, recipe: Recipe, seed: int) -> Candidate:
        """Return the candidate of a shape on the study's data."""
        return candidate_of(self._opened, architecture, recipe, seed)

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
        folder, rungs = self._opened.folder, self._record.rungs
        final = row.role != "search"
        return Job(
            study=self._record.name,
            candidate=row.candidate,
            task_spec=self._opened.spec,
            data=str(self._opened.prepared.folder),
            rungs=rungs,
            rung=goal,
            numerics=self._numerics,
            eval_tokens=eval_tokens(rungs),
            splits=("val", "test") if final and self._config.split.test else ("val",),
            checkpoint=self._ledger.checkpoint_of(row),
            checkpoint_dir=str(folder / CHECKPOINTS),
            model_dir=str(folder / MODELS / row.candidate_id),
            objective=ranking.first_measured(self._record.objectives),
            keep_better_than=None if final else self._keep_better_than(),
            latency=self._config.latency and self._config.latency.spec,
            keep_uncooled=final,
        )

    def _keep_better_than(self) -> float | None:
        """Return the objective that a model must beat to be among those kept, if it is measured."""
        objective = self._ledger.objective
        if objective != ranking.first_measured(self._record.objectives):
            return None
        kept = [row for row in self._ledger.complete() if row.model_path]
        if len(kept) < self._config.keep:
            return None
        return kept[self._config.keep - 1].metrics[objective]


def candidate_of(
    opened: OpenedStudy, architecture: Architecture, recipe: Recipe, seed: int
) -> Candidate:
    """Return the candidate of a shape on a study's data."""
    return Candidate(
        architecture=architecture,
        recipe=recipe,
        seed=seed,
        data_fingerprint=opened.record.data_fingerprint,
    )


def choose_numerics(opened: OpenedStudy, executor: Executor, proposals: Proposals) -> Numerics:
    """Return the study's numerics, chosen at its beginning or for a new kind of device.

    Args:
        opened: The study.
        executor: Where jobs will run.
        proposals: Of these the first is timed, if anything has to be.
    """
    wanted = check_device_name(opened.config.device)
    known = opened.record.numerics
    if known is not None and wanted in ("auto", known.device):
        return known
    shape = proposals.propose([], 0)
    assert shape is not None, "a bound space has a feasible shape"
    asked = Numerics(
        device=wanted,
        precision=opened.config.recipe.precision,
        attention="auto",
        threads=WORKER_THREADS,
    )
    rungs = opened.record.rungs
    numerics = executor.probe(
        Job(
            study=opened.record.name,
            candidate=candidate_of(opened, *shape, opened.config.seed),
            task_spec=opened.spec,
            data=str(opened.prepared.folder),
            rungs=rungs,
            rung=0,
            numerics=asked,
            eval_tokens=eval_tokens(rungs),
        )
    )
    opened.store.set_numerics(opened.record, numerics)
    return numerics
