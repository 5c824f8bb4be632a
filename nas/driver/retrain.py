"""Train a stored candidate again, so that its weights are kept."""

from __future__ import annotations

from dataclasses import replace

from nas.driver.bench import Bench, drop_checkpoint, ended, relative_to
from nas.driver.disk import telling_disk_faults
from nas.driver.events import Listener, Note, silent
from nas.errors import InputError, NasError
from nas.records import MICRO_BATCH, Outcome
from nas.store.rows import CandidateRow
from nas.store.writes import MODELS
from nas.study import Study

NEVER = 1e9  # seconds between safety checkpoints of a training that leaves none


@telling_disk_faults
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
    with Bench(study, listener) as bench:
        job = replace(
            bench.job(row.candidate, test=row.role != "search"),
            checkpoint_seconds=NEVER,
            keep_uncooled=row.role != "search",
            micro_batch=int(row.metrics[MICRO_BATCH]) if MICRO_BATCH in row.metrics else None,
        )
        outcome = bench.train(job, row)
        return _record(bench, row, outcome, listener)


def _record(bench: Bench, row: CandidateRow, outcome: Outcome, listener: Listener) -> CandidateRow:
    study = bench.study
    if outcome.state == "interrupted":
        drop_checkpoint(outcome)
        raise KeyboardInterrupt
    if not outcome.model_saved:
        raise NasError(
            f"study '{study.name}': candidate {row.candidate_id} could not be trained again: "
            f"{outcome.state}: {outcome.error or 'no message'}"
        )
    bench.store.record_model(
        study.record,
        row.candidate_id,
        path=f"{MODELS}/{row.candidate_id}",
        size_bytes=outcome.model_bytes,
        sha256=outcome.model_sha256,
    )
    if outcome.checkpoint is not None:
        kept = relative_to(study.folder, outcome.checkpoint)
        bench.store.set_checkpoint(study.record, row.candidate_id, kept)
    listener(ended(study, row, outcome))
    if (note := _difference(row, outcome)) is not None:
        listener(Note(text=note))
    return study.candidate(row.candidate_id)


def _difference(row: CandidateRow, outcome: Outcome) -> str | None:
    """Say by how much the new loss is off the stored one, None if it is the same."""
    stored, new = row.metrics["val_loss"], outcome.evaluations[-1].metrics["val"]["loss"]
    if new == stored:
        return None
    return (
        f"val_loss is {new:.6g} now and {stored:.6g} in the study: this machine computes otherwise"
    )
