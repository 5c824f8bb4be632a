"""The statements that change candidates, each inside a transaction that `store` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from nas.errors import NotFoundError
from nas.records import FAILED_STATES, Candidate, Evaluation, Outcome, to_plain
from nas.store import queries
from nas.store import tables as t
from nas.store.rows import StudyRecord

MODELS = "models"  # folder of the model folders, inside a study's


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def ended_at(state: str, created_at: datetime) -> datetime | None:
    """Return when a candidate ended that is now in this state; None: it has not.

    Nothing ends before it begins, also where the clock was set back meanwhile.
    """
    return max(now(), created_at) if is_final(state) else None


def is_final(state: str) -> bool:
    """Say whether a candidate in this state is done with, unless it is set running again."""
    return state == "complete" or state in FAILED_STATES


def no_candidate(study: StudyRecord, candidate_id: str) -> NotFoundError:
    """Return the error of a candidate that a study has not."""
    return NotFoundError(f"study '{study.name}': no candidate '{candidate_id}'")


def insert_candidate(
    connection: sa.Connection,
    study: StudyRecord,
    candidate: Candidate,
    *,
    number: int,
    role: str,
    columns: Mapping[str, float],
    parameters: Mapping[str, int],
) -> None:
    """Insert a candidate in state `running`, and its architecture where that is new."""
    _insert_architecture(connection, study, candidate, columns)
    values = {
        "number": number,
        "role": role,
        "state": "running",
        "architecture_id": candidate.architecture.id,
        "recipe": to_plain(candidate.recipe),
        "seed": candidate.seed,
        "data_fingerprint": candidate.data_fingerprint,
        "budget": candidate.budget,
        "parameters": dict(parameters),
        "tokens": 0,
        "timings": {},
        "error": "",
        "traceback": "",
        "created_at": now(),
    }
    connection.execute(t.candidate.insert().values(**_key(study, candidate.id), **values))


def _insert_architecture(
    connection: sa.Connection,
    study: StudyRecord,
    candidate: Candidate,
    columns: Mapping[str, float],
) -> None:
    architecture = candidate.architecture
    key = {"study_id": study.study_id, "architecture_id": architecture.id}
    here = (t.architecture.c.study_id == study.study_id) & (
        t.architecture.c.architecture_id == architecture.id
    )
    if connection.execute(sa.select(sa.literal(1)).where(here)).first():
        return
    values: dict[str, Any] = {
        "family": architecture.family,
        "shape": to_plain(architecture.shape),
        "columns": dict(columns),
        "flops_per_token": columns.get("flops_per_token"),
    }
    for name in ("params", "train_memory_bytes"):
        values[name] = int(columns[name]) if name in columns else None
    for name in ("n_layer", "d_model", "n_head", "d_ff"):
        number = architecture.shape.get(name)
        values[name] = number if isinstance(number, int) else None
    connection.execute(t.architecture.insert().values(**key, **values))


def apply_outcome(
    connection: sa.Connection, study: StudyRecord, outcome: Outcome, inherited: int
) -> bool:
    """Store how a job ended; return False, with nothing changed, if it was stored before.

    Raises:
        NotFoundError: If the study has no such candidate.
    """
    state = queries.candidate_state(connection, study, outcome.candidate_id)
    if state is None:
        raise no_candidate(study, outcome.candidate_id)
    known = queries.rungs_of(connection, study, outcome.candidate_id)
    new = [e for e in outcome.evaluations if e.rung not in known]
    paused_before = outcome.state == "paused" and bool(outcome.evaluations) and not new
    if is_final(state) or paused_before:
        return False
    if state == "interrupted" and not new and _is_stored(connection, study, outcome):
        return False
    for evaluation in sorted(new, key=lambda e: e.rung):
        before = max((tokens for r, tokens in known.items() if r < evaluation.rung), default=0)
        before = max(before, min(inherited, evaluation.tokens))
        _insert_evaluation(connection, _key(study, outcome.candidate_id), evaluation, before)
        known[evaluation.rung] = evaluation.tokens
    _update_candidate(connection, study, outcome)
    if outcome.model_saved:
        put_model(
            connection,
            study,
            outcome.candidate_id,
            path=f"{MODELS}/{outcome.candidate_id}",
            size_bytes=outcome.model_bytes,
            sha256=outcome.model_sha256,
        )
    return True


def _is_stored(connection: sa.Connection, study: StudyRecord, outcome: Outcome) -> bool:
    """Say whether the last report of a candidate was this one, which left it where it is."""
    here = queries.is_candidate(t.candidate, study, outcome.candidate_id)
    c = t.candidate.c
    stored = connection.execute(sa.select(c.state, c.tokens, c.checkpoint).where(here)).one()
    checkpoint = to_plain(outcome.checkpoint) if outcome.checkpoint else stored.checkpoint
    return tuple(stored) == (outcome.state, outcome.tokens, checkpoint)


def put_model(
    connection: sa.Connection,
    study: StudyRecord,
    candidate_id: str,
    *,
    path: str,
    size_bytes: int,
    sha256: str,
) -> None:
    """Store where a model folder is, in place of what was stored."""
    drop_model(connection, study, candidate_id)
    values = {"path": path, "bytes": size_bytes, "sha256": sha256}
    connection.execute(t.model.insert().values(**_key(study, candidate_id), **values))


def drop_model(connection: sa.Connection, study: StudyRecord, candidate_id: str) -> None:
    """Forget a model folder, if there is one."""
    connection.execute(t.model.delete().where(queries.is_candidate(t.model, study, candidate_id)))


def _key(study: StudyRecord, candidate_id: str) -> dict[str, Any]:
    return {"study_id": study.study_id, "candidate_id": candidate_id}


def _insert_evaluation(
    connection: sa.Connection, key: Mapping[str, Any], evaluation: Evaluation, before: int
) -> None:
    """Insert a measurement; `before`: tokens seen at the rung before it."""
    rung = {**key, "rung": evaluation.rung}
    connection.execute(
        t.evaluation.insert().values(
            **rung,
            tokens=evaluation.tokens - before,
            total_tokens=evaluation.tokens,
            seconds=evaluation.seconds,
            curve=to_plain(evaluation.curve),
        )
    )
    # A number that is not finite cannot be ranked; the candidate's state says what happened.
    metrics = [
        {**rung, "split": split, "name": name, "value": value}
        for split, values in evaluation.metrics.items()
        for name, value in values.items()
        if math.isfinite(value)
    ]
    if metrics:
        connection.execute(t.metric.insert(), metrics)


def _update_candidate(connection: sa.Connection, study: StudyRecord, outcome: Outcome) -> None:
    here = queries.is_candidate(t.candidate, study, outcome.candidate_id)
    c = t.candidate.c
    known = sa.select(c.tokens, c.timings, c.created_at).where(here)
    tokens, timings, created_at = connection.execute(known).one()
    values: dict[str, Any] = {
        "state": outcome.state,
        "tokens": max(tokens, outcome.tokens),
        "timings": _sum(timings, outcome.timings),
        "error": _storable(outcome.error),
        "traceback": _storable(outcome.traceback),
        "finished_at": ended_at(outcome.state, created_at),
    }
    # What is done with goes on from nowhere; one that waits keeps what it has.
    if outcome.checkpoint is not None or is_final(outcome.state):
        goes_on = outcome.state not in FAILED_STATES
        values["checkpoint"] = to_plain(outcome.checkpoint) if goes_on else None
    connection.execute(t.candidate.update().where(here).values(values))


def _sum(before: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    return {name: before.get(name, 0.0) + more.get(name, 0.0) for name in {**before, **more}}


def _storable(text: str) -> str:
    """Return text without what a database refuses: NUL and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
