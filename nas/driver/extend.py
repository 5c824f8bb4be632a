"""Train a stored candidate to more tokens, from before its cooldown where that was kept."""

from __future__ import annotations

from dataclasses import replace

from nas.driver.bench import Bench, checkpoint_of
from nas.driver.budgets import rungs_of
from nas.driver.disk import telling_disk_faults
from nas.driver.events import Listener, Note, silent
from nas.errors import InputError
from nas.store.rows import CandidateRow
from nas.study import Study


@telling_disk_faults
def extend(
    study: Study, candidate_id: str, tokens: int, listener: Listener = silent
) -> CandidateRow:
    """Train a complete candidate to more tokens; what comes out is a candidate of its own.

    The rate stays constant until the cooldown over the last part of the new budget, so that a
    training that goes on from the checkpoint before the old cooldown is the one that would have
    been done in one go. Without that checkpoint it is done in one go.

    Args:
        study: The study.
        candidate_id: One of its candidates, which must be complete.
        tokens: To how many, rounded down to whole steps.
        listener: Told how it goes.

    Returns:
        The new candidate's row, in role `extended`, with its model's folder.

    Raises:
        InputError: If the candidate is unknown or not complete, has seen as many tokens, or the
            data has changed.
        NasError: If it could not be trained.
        KeyboardInterrupt: If the user stopped it; the same call goes on.
    """
    row = study.candidate(candidate_id)
    candidate = replace(row.candidate, budget=_budget(study, row, tokens))
    known = next((r for r in study.trials() if r.candidate_id == candidate.id), None)
    if known is not None and known.model_path is not None:
        listener(Note(text=f"{candidate.id} was trained to {known.tokens} tokens already"))
        return known
    with Bench(study, listener) as bench:
        start = checkpoint_of(study, row)
        listener(Note(text=_start_words(row, None if start is None else start.tokens)))
        job = replace(bench.job(candidate, test=True), checkpoint=start, keep_uncooled=True)
        return bench.train_new(job, number=row.number, role="extended", parameters=row.parameters)


def _budget(study: Study, row: CandidateRow, tokens: int) -> int:
    if row.state != "complete":
        raise InputError(
            f"study '{study.name}': candidate {row.candidate_id} is {row.state}, and only a "
            f"complete one is trained further; see: nas show {study.name} {row.candidate_id}"
        )
    before = row.budget or rungs_of(study.record, row.recipe, row.columns)[-1]
    step = row.recipe.tokens_per_step
    if tokens // step * step <= before:
        raise InputError(
            f"--tokens: got {tokens}, and candidate {row.candidate_id} was trained to {before} "
            f"already; give {before + step} or more"
        )
    return tokens // step * step


def _start_words(row: CandidateRow, tokens: int | None) -> str:
    if tokens is None:
        return f"no checkpoint of {row.candidate_id} from before its cooldown: from the beginning"
    return f"goes on from {row.candidate_id} at {tokens} tokens, before its cooldown"
