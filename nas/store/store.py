"""The study database, read and written: the only way in and out of the tables.

One process writes, the search's driver; any number read meanwhile. Every method is one short
transaction, and what is stored twice is as if it were stored once: a method may be tried again
when the database went away and nobody knows whether it was stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from nas.errors import InputError, NotFoundError, nearest
from nas.records import (
    ROLES,
    STATES,
    Architecture,
    Candidate,
    CheckpointRef,
    Numerics,
    Outcome,
    TaskSpec,
    to_plain,
)
from nas.store import queries, shapes, standing, writes
from nas.store import tables as t
from nas.store.rows import CandidateRow, EvaluationRow, StudyRecord
from nas.store.session import Session, patient

STUDY_STATES = ("running", "interrupted", "finished")


class Store(Session):
    """An open study database. Use `Store.open`, and close it or use it in a `with`."""

    def create_study(
        self,
        name: str,
        *,
        config: Mapping[str, Any],
        identity: Mapping[str, Any],
        rungs: Sequence[int],
        objectives: Sequence[str],
        data_fingerprint: str,
        task_spec: TaskSpec,
        versions: Mapping[str, str],
        numerics: Numerics | None = None,
        evidence: Sequence[tuple[Architecture, float]] = (),
    ) -> StudyRecord:
        """Store a new study, in state `running`, with what it takes over from another one.

        Raises:
            InputError: If the database has a study of this name.
        """
        values = {
            "name": name,
            "state": "running",
            "config": to_plain(config),
            "identity": to_plain(identity),
            "rungs": list(rungs),
            "objectives": list(objectives),
            "data_fingerprint": data_fingerprint,
            "task_spec": to_plain(task_spec),
            "versions": dict(versions),
            "numerics": to_plain(numerics),
            "owner": self.owner,
            "created_at": writes.now(),
        }
        self._insert_study(values, evidence)
        return self.study(name)

    @patient
    def _insert_study(
        self, values: Mapping[str, Any], evidence: Sequence[tuple[Architecture, float]]
    ) -> None:
        with self._write() as connection:
            known = queries.study(connection, values["name"])
            if known is not None and known.created_at == values["created_at"]:
                return  # our own, of a transaction whose end we did not hear of
            if known is not None:
                raise InputError(f"{self.where}: study '{known.name}' already exists")
            connection.execute(t.study.insert().values(values))
            made = queries.study(connection, values["name"])
            assert made is not None, "just made"
            shapes.add_evidence(connection, made, evidence)

    @patient
    def rename_study(self, name: str, new_name: str) -> None:
        """Call a study otherwise; fine if it was done before.

        Raises:
            NotFoundError: If there is none of either name.
        """
        with self._write() as connection:
            here = t.study.c.name == name
            found = connection.execute(t.study.update().where(here).values(name=new_name))
            if not found.rowcount and queries.study(connection, new_name) is None:
                raise NotFoundError(f"{self.where}: no study '{name}'")

    @patient
    def study(self, name: str) -> StudyRecord:
        """Return one study.

        Raises:
            NotFoundError: If there is none of this name.
        """
        with self._read() as connection:
            record = queries.study(connection, name)
            names = queries.study_names(connection) if record is None else []
        if record is None:
            known = ", ".join(names) or "none"
            raise NotFoundError(
                f"{self.where}: no study '{name}'; it holds: {known}{nearest(name, names)}"
            )
        return record

    @patient
    def studies(self) -> list[str]:
        """Return the names of all studies, oldest first."""
        with self._read() as connection:
            return queries.study_names(connection)

    def sign(self, study: StudyRecord) -> None:
        """Store that this process works on the study, if it has claimed it, and in which folder."""
        if self.owner is not None:
            self._update_study(study, {"owner": self.owner})

    def set_numerics(self, study: StudyRecord, numerics: Numerics) -> None:
        """Store how the study's arithmetic is done."""
        self._update_study(study, {"numerics": to_plain(numerics)})

    def set_pace(self, study: StudyRecord, pace: float, rungs: Sequence[int]) -> None:
        """Store what a budget in seconds is reckoned by, and the reference's rungs in tokens."""
        self._update_study(study, {"pace": pace, "rungs": list(rungs)})

    def set_state(self, study: StudyRecord, state: str) -> None:
        """Store how the study stands: `running`, `interrupted` or `finished`."""
        assert state in STUDY_STATES, state
        self._update_study(study, {"state": state})

    def set_summary(self, study: StudyRecord, summary: Mapping[str, Any] | None) -> None:
        """Store the study's result, plain JSON with at least the `winner`'s architecture id."""
        self._update_study(study, {"summary": to_plain(summary)})

    def update_config(self, study: StudyRecord, config: Mapping[str, Any]) -> None:
        """Replace the stored configuration; its identity is the caller's to hold fixed."""
        self._update_study(study, {"config": to_plain(config)})

    def set_standing(self, study: StudyRecord, content: Mapping[str, Any]) -> None:
        """Store how far the search has come, for those who look on.

        Raises:
            AwayError: If the database is away; nothing is lost that the next one does not say.
        """
        with self._write() as connection:
            standing.put(connection, study, content)

    @patient
    def standing(self, study: StudyRecord) -> tuple[Mapping[str, Any], datetime] | None:
        """Return how far the search had come and when that was; None if nothing was stored."""
        with self._read() as connection:
            return standing.get(connection, study)

    @patient
    def delete_study(self, name: str) -> None:
        """Delete a study with everything of it in our tables.

        Raises:
            NotFoundError: If there is none of this name.
        """
        record = self.study(name)
        with self._write() as connection:
            connection.execute(t.study.delete().where(t.study.c.study_id == record.study_id))

    @patient
    def add_candidate(
        self,
        study: StudyRecord,
        candidate: Candidate,
        *,
        number: int,
        role: str,
        columns: Mapping[str, float],
        parameters: Mapping[str, int],
    ) -> bool:
        """Store a proposed candidate, in state `running`.

        Args:
            study: Its study.
            candidate: What will be trained.
            number: Its place in the order of proposals.
            role: One of `records.ROLES`.
            columns: Closed-form columns of its architecture.
            parameters: The sampler's encoding of its shape.

        Returns:
            False if the study has this candidate already; then nothing changes.
        """
        with self._write() as connection:
            if queries.candidate_state(connection, study, candidate.id) is not None:
                return False
            writes.insert_candidate(
                connection,
                study,
                candidate,
                number=number,
                role=role,
                columns=columns,
                parameters=parameters,
            )
        return True

    def set_candidate_state(self, study: StudyRecord, candidate_id: str, state: str) -> None:
        """Say that a candidate runs again, or that it was interrupted.

        Raises:
            NotFoundError: If the study has no such candidate.
        """
        assert state in STATES, state
        finished = writes.now() if writes.is_final(state) else None
        self._update_candidate(study, candidate_id, {"state": state, "finished_at": finished})

    def set_role(self, study: StudyRecord, candidate_id: str, *, role: str, number: int) -> None:
        """Say that a candidate stands in another role, under the number of its proposal.

        Raises:
            NotFoundError: If the study has no such candidate.
        """
        assert role in ROLES, role
        self._update_candidate(study, candidate_id, {"role": role, "number": number})

    def set_checkpoint(
        self, study: StudyRecord, candidate_id: str, checkpoint: CheckpointRef | None
    ) -> None:
        """Store where a candidate can go on from; None: its checkpoint was deleted.

        Raises:
            NotFoundError: If the study has no such candidate.
        """
        self._update_candidate(study, candidate_id, {"checkpoint": to_plain(checkpoint)})

    @patient
    def record_outcome(self, study: StudyRecord, outcome: Outcome, *, inherited: int = 0) -> bool:
        """Store how a job ended: state, measurements, checkpoint, model and error, all or nothing.

        A measurement that is there already stays as it is, and a report that was stored before
        changes nothing: a complete or failed candidate is final until it is set running again.

        Args:
            study: Whose candidate it is.
            outcome: How it ended.
            inherited: Tokens of another candidate's training that this one went on from; they are
                counted there.

        Returns:
            Whether anything changed.

        Raises:
            NotFoundError: If the study has no such candidate.
        """
        with self._write() as connection:
            return writes.apply_outcome(connection, study, outcome, inherited)

    @patient
    def record_model(
        self, study: StudyRecord, candidate_id: str, *, path: str, size_bytes: int, sha256: str
    ) -> None:
        """Store where a candidate's model folder is, relative to the study's folder.

        Raises:
            NotFoundError: If the study has no such candidate.
        """
        with self._write() as connection:
            self._check_candidate(connection, study, candidate_id)
            writes.put_model(
                connection, study, candidate_id, path=path, size_bytes=size_bytes, sha256=sha256
            )

    @patient
    def drop_model(self, study: StudyRecord, candidate_id: str) -> None:
        """Forget a candidate's model folder; fine if it has none."""
        with self._write() as connection:
            writes.drop_model(connection, study, candidate_id)

    def enqueue(self, study: StudyRecord, architecture: Architecture) -> None:
        """Store that a shape is to be tried next.

        Raises:
            InputError: If it was tried or asked for before.
        """
        self._enqueue(study, architecture, writes.now())

    @patient
    def _enqueue(self, study: StudyRecord, architecture: Architecture, when: datetime) -> None:
        with self._write() as connection:
            shapes.enqueue(connection, study, architecture, when)

    @patient
    def enqueued(self, study: StudyRecord) -> list[Architecture]:
        """Return the shapes that the user asked for, tried or not, in the order of asking."""
        with self._read() as connection:
            return shapes.enqueued(connection, study)

    @patient
    def evidence(self, study: StudyRecord) -> list[tuple[Architecture, float]]:
        """Return the shapes and results that the study took over from another one."""
        with self._read() as connection:
            return shapes.evidence(connection, study)

    @patient
    def rows(self, study: StudyRecord, *, all_rungs: bool = False) -> list[CandidateRow]:
        """Return the study's candidates in the order of their proposal.

        Args:
            study: The study.
            all_rungs: One row for each measurement instead of the last one only.
        """
        with self._read() as connection:
            return queries.candidate_rows(connection, study, all_rungs=all_rungs)

    @patient
    def row(self, study: StudyRecord, candidate_id: str) -> CandidateRow:
        """Return one candidate with its last measurement.

        Raises:
            NotFoundError: If the study has no such candidate.
        """
        with self._read() as connection:
            found = queries.candidate_rows(connection, study, candidate_id=candidate_id)
        if not found:
            raise writes.no_candidate(study, candidate_id)
        return found[0]

    @patient
    def evaluations(
        self, study: StudyRecord, candidate_id: str | None = None
    ) -> list[EvaluationRow]:
        """Return all measurements with their curves, of one candidate or of all."""
        with self._read() as connection:
            return queries.evaluation_rows(connection, study, candidate_id)

    @patient
    def _update_study(self, study: StudyRecord, values: Mapping[str, Any]) -> None:
        with self._write() as connection:
            here = t.study.c.study_id == study.study_id
            connection.execute(t.study.update().where(here).values(values))

    @patient
    def _update_candidate(
        self, study: StudyRecord, candidate_id: str, values: Mapping[str, Any]
    ) -> None:
        with self._write() as connection:
            here = queries.is_candidate(t.candidate, study, candidate_id)
            found = connection.execute(t.candidate.update().where(here).values(values))
            if not found.rowcount:
                raise writes.no_candidate(study, candidate_id)

    def _check_candidate(
        self, connection: sa.Connection, study: StudyRecord, candidate_id: str
    ) -> None:
        if queries.candidate_state(connection, study, candidate_id) is None:
            raise writes.no_candidate(study, candidate_id)
