"""What the driver knows and stores of a study's candidates.

Our rows are the truth. The order of writing is: model folder (by the worker), row, Optuna's
mirror; whatever a crash leaves half done is put right at the next start, forward.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path

from nas.config import TIMED
from nas.driver.latency import within_limit
from nas.driver.opening import OpenedStudy
from nas.errors import StoreError
from nas.families import cost_of
from nas.records import (
    BESIDE_ROLES,
    FINAL_ROLES,
    UNCOOLED,
    Architecture,
    Candidate,
    CheckpointRef,
    Outcome,
)
from nas.store import ranking
from nas.store.mirror import Mirror
from nas.store.rows import CandidateRow, EvaluationRow
from nas.strategies import Observation

MODELS, CHECKPOINTS = "models", "checkpoints"
# What a crash may leave in them; anything else is not ours to delete, wherever a folder leads to.
_MODEL_FOLDER = re.compile(r"[0-9a-f]{12}|\.[0-9a-f]{12}\.(tmp|old)-\d+")
CHECKPOINT_SUFFIXES = (".safetensors", ".part")


class Ledger:
    """The study's candidates in memory, each change written through to the database.

    Args:
        opened: The study.
    """

    def __init__(self, opened: OpenedStudy) -> None:
        self._opened = opened
        self._store, self._record = opened.store, opened.record
        self._mirror = Mirror(
            opened.store.url,
            opened.record.name,
            objectives=opened.record.objectives,
            parameters=opened.proposals.space.parameters,
        )
        self._unmirrored: list[CandidateRow] = []
        self.rows: dict[str, CandidateRow] = {}
        self._measured: dict[str, dict[int, EvaluationRow]] = {}  # by candidate and rung
        self._reload()
        self._reconcile()

    @property
    def objective(self) -> str:
        """The objective that ranks."""
        return self._record.objectives[0]

    def search_rows(self) -> list[CandidateRow]:
        """Return the candidates of the search proper, in the order of proposal."""
        rows = [row for row in self.rows.values() if row.role == "search"]
        return sorted(rows, key=lambda row: row.number)

    def complete(self) -> list[CandidateRow]:
        """Return the search's complete candidates, best first."""
        done = [row for row in self.search_rows() if row.state == "complete"]
        return ranking.best_first(done, self.objective)

    def unfinished(self) -> list[CandidateRow]:
        """Return candidates that an earlier run left, in the order of proposal."""
        mine = [row for row in self.rows.values() if row.role not in BESIDE_ROLES]
        left = [row for row in mine if row.state in ("running", "interrupted")]
        return sorted(left, key=lambda row: (row.number, row.seed))

    def enqueued(self) -> list[Architecture]:
        """Return the shapes of the user's own that are still to be tried."""
        tried = {row.architecture_id for row in self.search_rows()}
        return [one for one in self._store.enqueued(self._record) if one.id not in tried]

    def on_top(self) -> int:
        """Return how many candidates count on top of the limit, since the user enqueued them."""
        asked = {one.id for one in self._store.enqueued(self._record)}
        return len(asked & {row.architecture_id for row in self.search_rows()})

    def tried(self) -> int:
        """Return how many candidates of the search are not in training."""
        return sum(row.state not in ("running", "interrupted") for row in self.search_rows())

    def resumable(self) -> set[int]:
        """Return the numbers of paused candidates of which a checkpoint is kept."""
        paused = [row for row in self.search_rows() if row.state == "paused" and row.checkpoint]
        return {row.number for row in within_limit(self._opened, paused)}

    def drop_checkpoints(self, numbers: set[int]) -> None:
        """Delete the checkpoints of paused candidates; Optuna sees these as pruned from now on."""
        for row in self.search_rows():
            if row.number in numbers and row.state == "paused" and row.checkpoint is not None:
                self._store.set_checkpoint(self._record, row.candidate_id, None)
                self._delete_other_checkpoints(row.checkpoint, None)
                self._unmirrored.append(self._refresh(row.candidate_id))

    def history(self) -> list[Observation]:
        """Return what a strategy may know."""
        return [self._observation(row) for row in self.search_rows()]

    def _observation(self, row: CandidateRow) -> Observation:
        values = [ranking.number_of(row, name) for name in self._record.objectives]
        known = tuple(value for value in values if value is not None)
        complete = row.state == "complete" and len(known) == len(values)
        return Observation(
            number=row.number,
            architecture_id=self._opened.point(row.architecture, row.recipe).id,
            parameters=row.parameters,
            state=row.state,
            values=known if complete else None,
            columns=row.columns,
            rungs=self._rungs(row),
        )

    def _rungs(self, row: CandidateRow) -> tuple[tuple[int, tuple[float, ...]], ...]:
        """Return the objectives at each rung below the full budget."""
        found = []
        # A latency is the shape's, whatever the rung at whose end it was taken.
        of_shape = {name: row.metrics[name] for name in TIMED if name in row.metrics}
        for rung, one in sorted(self._measured.get(row.candidate_id, {}).items()):
            at_rung = replace(row, metrics=of_shape | one.metrics)
            values = [ranking.number_of(at_rung, name) for name in self._record.objectives]
            known = tuple(value for value in values if value is not None and isfinite(value))
            if rung < len(self._record.rungs) - 1 and len(known) == len(values):
                found.append((rung, known))
        return tuple(found)

    def add(self, candidate: Candidate, *, number: int, role: str) -> CandidateRow:
        """Store a candidate as running; one that is there already is set running again."""
        if candidate.id in self.rows:
            self._store.set_candidate_state(self._record, candidate.id, "running")
        else:
            recipe = candidate.recipe
            point = self._opened.point(candidate.architecture, recipe)
            self._store.add_candidate(
                self._record,
                candidate,
                number=number,
                role=role,
                columns=cost_of(
                    candidate.architecture,
                    self._opened.spec,
                    context=recipe.context,
                    batch=recipe.batch,
                ),
                parameters=self._opened.proposals.space.encode(point),
            )
        return self._refresh(candidate.id)

    def record(self, outcome: Outcome) -> CandidateRow:
        """Store how a job ended, and let go of its checkpoint unless it goes on from there.

        A complete candidate may keep the one from before its cooldown.
        """
        before = self.rows[outcome.candidate_id].checkpoint
        stored = replace(outcome, checkpoint=self._relative(outcome.checkpoint))
        self._store.record_outcome(self._record, stored)
        for evaluation in outcome.evaluations:
            self._note(EvaluationRow(candidate_id=outcome.candidate_id, evaluation=evaluation))
        row = self._refresh(outcome.candidate_id)
        kept = row.state == "complete" and outcome.checkpoint is not None
        if row.state not in ("interrupted", "paused") and not kept:
            self._store.set_checkpoint(self._record, row.candidate_id, None)
            row = self._refresh(row.candidate_id)
        self._delete_other_checkpoints(before, row.checkpoint)
        self._unmirrored.append(row)
        return row

    def mirror(self) -> None:
        """Show Optuna what was recorded; done apart, so that no worker waits for it."""
        while self._unmirrored:
            row = self._unmirrored.pop(0)
            self._mirror.add(row, self._store.evaluations(self._record, row.candidate_id))

    def note_checkpoint(self, candidate_id: str, checkpoint: CheckpointRef) -> None:
        """Store a running candidate's safety checkpoint and delete the one before."""
        before = self.rows[candidate_id].checkpoint
        relative = self._relative(checkpoint)
        self._store.set_checkpoint(self._record, candidate_id, relative)
        self.rows[candidate_id] = replace(self.rows[candidate_id], checkpoint=relative)
        self._delete_other_checkpoints(before, relative)

    def checkpoint_of(self, row: CandidateRow) -> CheckpointRef | None:
        """Return a candidate's checkpoint with an absolute path, None if it has none.

        Whether it is there whole is for the worker to see, which begins anew where it is not.
        """
        if row.checkpoint is None:
            return None
        return replace(row.checkpoint, uri=str(self._opened.folder / row.checkpoint.uri))

    def keep_only(self, wanted: set[str]) -> None:
        """Delete the weights of all candidates but some; rows stay."""
        for row in list(self.rows.values()):
            if row.model_path and row.candidate_id not in wanted:
                self._store.drop_model(self._record, row.candidate_id)
                shutil.rmtree(self._opened.folder / row.model_path, ignore_errors=True)
                self._refresh(row.candidate_id)

    def keep_uncooled(self, architectures: Collection[str]) -> None:
        """Delete checkpoints from before a cooldown but those of the best seed of each shape.

        Args:
            architectures: Ids of the shapes that keep one.
        """
        done = [row for row in self.rows.values() if row.state == "complete" and row.checkpoint]
        finals = [row for row in done if row.role in FINAL_ROLES]
        kept: dict[str, CandidateRow] = {}
        for row in ranking.best_first(finals, self.objective):
            if row.architecture_id in architectures:
                kept.setdefault(row.architecture_id, row)
        for row in done:
            if row.role not in BESIDE_ROLES and row not in kept.values():
                self._store.set_checkpoint(self._record, row.candidate_id, None)
                self._delete_other_checkpoints(row.checkpoint, None)
                self._refresh(row.candidate_id)

    def take_over(self, candidate_id: str, *, role: str, number: int) -> None:
        """Have a candidate that was trained beside the search take part in the finals."""
        if self.rows[candidate_id].role != role:
            self._store.set_role(self._record, candidate_id, role=role, number=number)
            self._refresh(candidate_id)

    def finish(self, state: str, summary: Mapping[str, object]) -> None:
        """Store the study's state and result."""
        self._store.set_summary(self._record, summary)
        self._store.set_state(self._record, state)

    def close(self) -> None:
        """Mirror what is left and let go of the database."""
        try:
            self.mirror()
        finally:  # also where the disk takes no more
            self._mirror.close()
            self._store.close()

    def _reload(self) -> None:
        self.rows = {row.candidate_id: row for row in self._store.rows(self._record)}
        self._check_families()
        for one in self._store.evaluations(self._record):
            self._note(one)

    def _check_families(self) -> None:
        """Refuse shapes of a family that the study is not of: nobody vouched for its code."""
        family = self._opened.config.space.family
        for row in self.rows.values():
            if row.family != family:
                raise StoreError(
                    f"{self._store.where}: candidate {row.candidate_id} is of family "
                    f"'{row.family}', the study of '{family}': the database was altered"
                )

    def _note(self, one: EvaluationRow) -> None:
        bare = replace(one.evaluation, curve=())  # nobody here asks for it
        known = self._measured.setdefault(one.candidate_id, {})
        known[bare.rung] = replace(one, evaluation=bare)

    def _refresh(self, candidate_id: str) -> CandidateRow:
        row = self._store.row(self._record, candidate_id)
        self.rows[candidate_id] = row
        return row

    def _relative(self, checkpoint: CheckpointRef | None) -> CheckpointRef | None:
        if checkpoint is None:
            return None
        path = Path(checkpoint.uri).relative_to(self._opened.folder)
        return replace(checkpoint, uri=path.as_posix())

    def _delete_other_checkpoints(
        self, before: CheckpointRef | None, now: CheckpointRef | None
    ) -> None:
        if before is not None and (now is None or now.uri != before.uri):
            (self._opened.folder / before.uri).unlink(missing_ok=True)

    def _reconcile(self) -> None:
        """Put right what a crash left: files without a row, rows without a mirrored trial."""
        folder = self._opened.folder
        models = {row.model_path for row in self.rows.values() if row.model_path}
        for path in (folder / MODELS).iterdir():
            if f"{MODELS}/{path.name}" not in models and _MODEL_FOLDER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        kept = {row.checkpoint.uri for row in self.rows.values() if row.checkpoint}
        unfinished = [r for r in self.rows.values() if r.state in ("running", "interrupted")]
        going_on = tuple(row.candidate_id for row in unfinished)
        for path in (folder / CHECKPOINTS).iterdir():
            of_training = path.name.endswith(UNCOOLED) and path.name.startswith(going_on)
            is_ours = path.suffix in CHECKPOINT_SUFFIXES
            if f"{CHECKPOINTS}/{path.name}" not in kept and not of_training and is_ours:
                path.unlink(missing_ok=True)
        ended = [row for row in self.rows.values() if row.role == "search"]
        if ended:
            self._mirror.reconcile(ended, self._store.evaluations(self._record))


def is_whole(path: Path, checkpoint: CheckpointRef) -> bool:
    """Say whether a checkpoint is there as it was written."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == checkpoint.sha256
    except OSError:
        return False
