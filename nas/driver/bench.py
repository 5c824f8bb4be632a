"""Training beside a search: one candidate after another, here, while no search is at work."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from nas.config import check_code
from nas.data import PreparedData
from nas.driver.budgets import rungs_of, test_tokens
from nas.driver.claim import Claim, claim
from nas.driver.disk import disk_error
from nas.driver.events import CandidateEnded, CandidateStarted, Listener, Note
from nas.driver.ledger import CHECKPOINTS, is_whole
from nas.driver.opening import eval_tokens
from nas.driver.recovery import Recovery, retry_words
from nas.driver.stopping import Stop
from nas.errors import DataError, InputError, NasError
from nas.executors import EVENT_SECONDS, make_executor
from nas.families import cost_of
from nas.plugins import vouch
from nas.records import Candidate, CheckpointRef, Job, Numerics, Outcome
from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.store.store import Store
from nas.store.writes import MODELS
from nas.study import Study


class Bench:
    """A study claimed for training beside its search; a context manager.

    Args:
        study: The study, in which something was trained already.
        listener: Told how it goes.
    """

    def __init__(self, study: Study, listener: Listener) -> None:
        check_code(study.config, f"study '{study.name}'", trust=False)
        vouch(study.record.task_spec.task, f"study '{study.name}': task", trust=False)
        self.study, self._listener = study, listener
        self._numerics = _numerics(study)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            claimed = stack.enter_context(_claimed(self.study))
            if claimed.note:
                self._note_text(claimed.note)
            self.store = stack.enter_context(Store.open(self.study.url))
            self.store.claim(self.study.name, self.study.folder)
            self.store.sign(self.study.record)
            self._stop = stop = stack.enter_context(Stop())
            self.store.wait_when_away(self._note_text, leave=lambda: stop.asked)
            self._executor = make_executor(
                "inline",
                workers=1,
                threads=self._numerics.threads,
                device=self._numerics.device,
                job_bytes=0,
            )
            stack.callback(self._executor.close)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def job(self, candidate: Candidate, *, test: bool) -> Job:
        """Return the job that takes a candidate to its budget, or else the study's.

        Args:
            candidate: What is trained, on the study's data.
            test: Whether it is measured on test too, if the study has kept one.
        """
        record, folder = self.study.record, self.study.folder
        prepared = PreparedData.open(folder / "data")
        if prepared.info.fingerprint != candidate.data_fingerprint:
            raise DataError(
                f"{folder / 'data'}: is not the data that candidate {candidate.id} was trained on"
            )
        rungs = rungs_of(record, candidate.recipe, self._columns(candidate))
        if candidate.budget is not None:
            rungs = (*rungs[:-1], candidate.budget)
        return Job(
            study=self.study.name,
            candidate=candidate,
            task_spec=record.task_spec,
            data=str(folder / "data"),
            rungs=rungs,
            rung=len(rungs) - 1,
            numerics=self._numerics,
            eval_tokens=eval_tokens(record.rungs),
            test_tokens=None if candidate.budget else test_tokens(record),
            splits=("val", "test") if test and prepared.has("test") else ("val",),
            objective=ranking.first_measured(self.study.objectives),
            checkpoint_dir=str(folder / CHECKPOINTS),
            model_dir=str(folder / MODELS / candidate.id),
        )

    def train(self, job: Job, row: CandidateRow, *, noted: bool = False) -> Outcome:
        """Run a job to its end, once more in parts of a batch if memory runs out.

        Args:
            job: What is to be done.
            row: Its candidate.
            noted: Whether safety checkpoints are stored, and the second try goes on from there.

        Raises:
            DiskError: If the disk took no more; nothing of the job counts.
        """
        recovery = Recovery(self.study.name, ())
        while True:
            outcome, again = recovery.judge(job, self._run(job, row, noted=noted))
            if again is None:
                return outcome
            known = checkpoint_of(self.study, self._stored(row)) if noted else None
            job = replace(again, checkpoint=known or job.checkpoint)
            self._note_text(retry_words(job, outcome))

    def _run(self, job: Job, row: CandidateRow, *, noted: bool) -> Outcome:
        self._listener(CandidateStarted.of(row, job))
        self._executor.submit(job)
        while True:
            for event in self._executor.events(EVENT_SECONDS):
                if isinstance(event, Outcome):
                    return self._taken(event)
                if not event.is_report:
                    continue
                if event.checkpoint is not None and noted:
                    self._note(row, event.checkpoint)
                self._listener(event)
            if self._stop.asked:
                self._executor.cancel(row.candidate_id)

    def _taken(self, outcome: Outcome) -> Outcome:
        """Return how a training ended, if the disk let it come to its end."""
        if outcome.note:
            self._listener(Note(text=outcome.note))
        if outcome.disk_fault:
            raise disk_error(self.study.folder, outcome.disk_fault)
        return outcome

    def train_new(
        self, job: Job, *, number: int, role: str, parameters: Mapping[str, int]
    ) -> CandidateRow:
        """Store a candidate, train it, or go on where it was left, and store what came of it.

        The job's own checkpoint is another candidate's, whose tokens are not counted again.

        Raises:
            KeyboardInterrupt: If the user stopped it; the next call goes on from there.
            NasError: If it could not be trained.
        """
        study, store, candidate = self.study, self.store, job.candidate
        row = self._added(candidate, number=number, role=role, parameters=parameters)
        inherited = 0 if job.checkpoint is None else job.checkpoint.tokens
        job = replace(job, checkpoint=checkpoint_of(study, row) or job.checkpoint)
        outcome = self.train(job, row, noted=True)
        before = self._stored(row).checkpoint
        kept = None if outcome.checkpoint is None else relative_to(study.folder, outcome.checkpoint)
        store.record_outcome(study.record, replace(outcome, checkpoint=kept), inherited=inherited)
        store.set_checkpoint(study.record, candidate.id, kept)
        if before is not None and (kept is None or before.uri != kept.uri):
            (study.folder / before.uri).unlink(missing_ok=True)
        row = self._stored(row)
        self._listener(ended(study, row, outcome))
        if outcome.state == "interrupted":
            raise KeyboardInterrupt
        if outcome.state != "complete":
            raise NasError(
                f"study '{study.name}': candidate {candidate.id} could not be trained: "
                f"{outcome.state}: {outcome.error or 'no message'}"
            )
        return row

    def _note_text(self, text: str) -> None:
        self._listener(Note(text=text))

    def _added(
        self, candidate: Candidate, *, number: int, role: str, parameters: Mapping[str, int]
    ) -> CandidateRow:
        study, columns = self.study, self._columns(candidate)
        added = {"number": number, "role": role, "columns": columns, "parameters": parameters}
        if not self.store.add_candidate(study.record, candidate, **added):  # type: ignore[arg-type]  # its own arguments
            self.store.set_candidate_state(study.record, candidate.id, "running")
        return self.store.row(study.record, candidate.id)

    def _stored(self, row: CandidateRow) -> CandidateRow:
        return self.store.row(self.study.record, row.candidate_id)

    def _columns(self, candidate: Candidate) -> dict[str, float]:
        recipe, spec = candidate.recipe, self.study.record.task_spec
        shape = candidate.architecture
        return cost_of(shape, spec, context=recipe.context, batch=recipe.batch)

    def _note(self, row: CandidateRow, checkpoint: CheckpointRef) -> None:
        before = self._stored(row).checkpoint
        kept = relative_to(self.study.folder, checkpoint)
        self.store.set_checkpoint(self.study.record, row.candidate_id, kept)
        if before is not None and before.uri != kept.uri:
            (self.study.folder / before.uri).unlink(missing_ok=True)


def checkpoint_of(study: Study, row: CandidateRow) -> CheckpointRef | None:
    """Return a candidate's checkpoint with an absolute path, None if it is not there whole."""
    if row.checkpoint is None:
        return None
    path = study.folder / row.checkpoint.uri
    return replace(row.checkpoint, uri=str(path)) if is_whole(path, row.checkpoint) else None


def relative_to(folder: Path, checkpoint: CheckpointRef) -> CheckpointRef:
    """Return a checkpoint with its path relative to the study's folder."""
    return replace(checkpoint, uri=Path(checkpoint.uri).relative_to(folder).as_posix())


def drop_checkpoint(outcome: Outcome) -> None:
    """Delete the checkpoint of a training that is not gone on with."""
    if outcome.checkpoint is not None:
        Path(outcome.checkpoint.uri).unlink(missing_ok=True)


def ended(study: Study, row: CandidateRow, outcome: Outcome) -> CandidateEnded:
    """Return the event for a training that came back."""
    return CandidateEnded(
        number=row.number,
        role=row.role,
        outcome=outcome,
        value=ranking.number_of(row, study.objectives[0]) if row.state == "complete" else None,
        paused_at=None,
        tried=0,
        best=None,
        reference=None,
        remaining=None,
    )


def _claimed(study: Study) -> Claim:
    try:
        (study.folder / MODELS).mkdir(exist_ok=True)
        return claim(study.folder, "training")
    except OSError as error:
        raise InputError(
            f"{study.folder}: cannot be written ({error.strerror}), so no weights can be kept"
        ) from error


def _numerics(study: Study) -> Numerics:
    """Return the study's arithmetic; its device must be here."""
    from nas.device import resolve_device

    numerics = study.record.numerics
    if numerics is None:
        raise InputError(
            f"study '{study.name}': nothing was trained in it yet; begin with: "
            f"nas search {study.name}"
        )
    resolve_device(numerics.device)
    return numerics
