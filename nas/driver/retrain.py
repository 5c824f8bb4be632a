"""Train a stored candidate again, so that its weights are kept."""

from __future__ import annotations

from typing import IO

from nas.data import PreparedData
from nas.driver.claim import claim
from nas.driver.events import CandidateEnded, CandidateStarted, Listener, Note, silent
from nas.driver.ledger import MODELS
from nas.driver.opening import eval_tokens
from nas.driver.stopping import Stop
from nas.errors import DataError, InputError, NasError
from nas.executors import Executor, make_executor
from nas.records import Job, Numerics, Outcome
from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.store.store import Store
from nas.study import Study

EVENT_SECONDS = 0.25


def retrain(study: Study, candidate_id: str, listener: Listener = silent) -> CandidateRow:
    """Train a complete candidate again by its own recipe, seed and arithmetic; keep its weights.

    On the CPU the result is the stored one to the last bit. The stored measurements stay. The
    next search that goes on with the study keeps the weights of its best only.

    Args:
        study: The study.
        candidate_id: One of its candidates, which must be complete.
        listener: Told how it goes.

    Returns:
        The candidate's row, with its model's folder; at once if its weights were kept.

    Raises:
        InputError: If the candidate is unknown or not complete, or the data has changed.
        NasError: If it could not be trained again.
        KeyboardInterrupt: If the user stopped it; then nothing is kept.
    """
    row = study.candidate(candidate_id)
    if row.state != "complete":
        raise InputError(
            f"study '{study.name}': candidate {row.candidate_id} is {row.state}, and only a "
            f"complete one is trained again; see: nas show {study.name} {row.candidate_id}"
        )
    if row.model_path is not None:
        listener(Note(text=f"the weights of {row.candidate_id} were kept: nothing to train"))
        return row
    job = _job(study, row)
    with _claimed(study), Stop() as stop:
        executor = make_executor("inline", workers=1, threads=job.numerics.threads)
        try:
            outcome = _train(executor, job, row, listener, stop)
        finally:
            executor.close()
        return _record(study, row, outcome, listener)


def _claimed(study: Study) -> IO[bytes]:
    try:
        return claim(study.folder)
    except OSError as error:
        raise InputError(
            f"{study.folder}: cannot be written ({error.strerror}), so no weights can be kept"
        ) from error


def _job(study: Study, row: CandidateRow) -> Job:
    record, data = study.record, study.folder / "data"
    prepared = PreparedData.open(data)
    if prepared.info.fingerprint != row.data_fingerprint:
        raise DataError(f"{data}: is not the data that candidate {row.candidate_id} was trained on")
    test = row.role != "search" and prepared.has("test")
    return Job(
        study=study.name,
        candidate=row.candidate,
        task_spec=record.task_spec,
        data=str(data),
        rungs=record.rungs,
        rung=len(record.rungs) - 1,
        numerics=_numerics(study),
        eval_tokens=eval_tokens(record.rungs),
        splits=("val", "test") if test else ("val",),
        objective=ranking.first_measured(study.objectives),
        model_dir=str(study.folder / MODELS / row.candidate_id),
    )


def _numerics(study: Study) -> Numerics:
    """Return the study's arithmetic; its device must be here."""
    from nas.device import resolve_device

    numerics = study.record.numerics
    assert numerics is not None, "a study with a complete candidate has chosen"
    resolve_device(numerics.device)
    return numerics


def _train(
    executor: Executor, job: Job, row: CandidateRow, listener: Listener, stop: Stop
) -> Outcome:
    listener(CandidateStarted.of(row, job))
    executor.submit(job)
    while True:
        for event in executor.events(EVENT_SECONDS):
            if isinstance(event, Outcome):
                return event
            listener(event)
        if stop.asked:
            executor.cancel(row.candidate_id)


def _record(study: Study, row: CandidateRow, outcome: Outcome, listener: Listener) -> CandidateRow:
    if outcome.state == "interrupted":
        raise KeyboardInterrupt
    if not outcome.model_saved:
        raise NasError(
            f"study '{study.name}': candidate {row.candidate_id} could not be trained again: "
            f"{outcome.state}: {outcome.error or 'no message'}"
        )
    with Store.open(study.url) as store:
        store.record_model(
            study.record,
            row.candidate_id,
            path=f"{MODELS}/{row.candidate_id}",
            size_bytes=outcome.model_bytes,
            sha256=outcome.model_sha256,
        )
    listener(_ended(study, row, outcome))
    if (note := _difference(row, outcome)) is not None:
        listener(Note(text=note))
    return study.candidate(row.candidate_id)


def _ended(study: Study, row: CandidateRow, outcome: Outcome) -> CandidateEnded:
    return CandidateEnded(
        number=row.number,
        role=row.role,
        outcome=outcome,
        value=ranking.number_of(row, study.objectives[0]),
        paused_at=None,
        tried=0,
        best=None,
        reference=None,
        remaining=None,
    )


def _difference(row: CandidateRow, outcome: Outcome) -> str | None:
    """Say by how much the new loss is off the stored one, None if it is the same."""
    stored, new = row.metrics["val_loss"], outcome.evaluations[-1].metrics["val"]["loss"]
    if new == stored:
        return None
    return (
        f"val_loss is {new:.6g} now and {stored:.6g} in the study: this machine computes otherwise"
    )
