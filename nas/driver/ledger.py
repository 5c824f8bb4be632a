"""What the driver knows and stores of a study's candidates.

Our rows are the truth. The order of writing is: model folder (by the worker), row, Optuna's
mirror; whatever a crash leaves half done is put right at the next start, forward.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain
from math import isfinite
from pathlib import Path

from nas.config import TIMED
from nas.driver.candidates import IN_TRAINING, Candidates
from nas.driver.latency import within_limit
from nas.driver.opening import OpenedStudy
from nas.errors import StoreError
from nas.families import cost_of
from nas.records import (
    BESIDE_ROLES,
    FAILED_STATES,
    FINAL_ROLES,
    UNCOOLED,
    Architecture,
    Candidate,
    CheckpointRef,
    Outcome,
)
from nas.store import ranking
from nas.store.mirror import Mirror
from nas.store.rows import CandidateRow, EvaluationRow, metric_column
from nas.store.writes import MODELS
from nas.strategies import Observation

CHECKPOINTS = "checkpoints"
LEAVE_SECONDS = 2.0  # that a search which is left goes on mirroring
MIRRORED_AT_ONCE = 50  # candidates: a twentieth of a second, in which nothing else is heard
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
            patience=opened.store.patience,
        )
        self._unmirrored: deque[str] = deque()
        self._measured: dict[str, dict[int, EvaluationRow]] = {}  # by candidate and rung
        self._candidates = Candidates(self.objective, self._observation, self._may_go_on)
        for one in self._store.evaluations(self._record):
            self._note(one)
        for row in self._store.rows(self._record):
            self._candidates.put(row)
        self._check_families()
        self._asked: dict[str, Architecture] = {}
        self.look_for_enqueued()
        self._reconcile()

    @property
    def objective(self) -> str:
        """The objective that ranks."""
        return self._record.objectives[0]

    @property
    def rows(self) -> Mapping[str, CandidateRow]:
        """All candidates by id."""
        return self._candidates.rows

    def models(self) -> Sequence[CandidateRow]:
        """Return the candidates of which weights are kept."""
        return list(self._candidates.models.values())

    def search_rows(self) -> Sequence[CandidateRow]:
        """Return the candidates of the search proper, in the order of proposal."""
        return self._candidates.search

    def complete(self) -> Sequence[CandidateRow]:
        """Return the search's complete candidates, best first."""
        return self._candidates.complete

    def of_shape(self, architecture_id: str) -> Sequence[CandidateRow]:
        """Return all candidates of a shape, also those of the finals."""
        return self._candidates.of_shape(architecture_id)

    def unfinished(self) -> list[CandidateRow]:
        """Return candidates that an earlier run left, in the order of proposal."""
        mine = [row for row in self.rows.values() if row.role not in BESIDE_ROLES]
        left = [row for row in mine if row.state in IN_TRAINING]
        return sorted(left, key=lambda row: (row.number, row.seed))

    def look_for_enqueued(self) -> None:
        """Read which shapes the user asked for, from another process perhaps and just now."""
        self._asked = {one.id: one for one in self._store.enqueued(self._record)}

    def enqueued(self) -> list[Architecture]:
        """Return the shapes of the user's own that are still to be tried."""
        return [one for own, one in self._asked.items() if own not in self._candidates.shapes]

    def on_top(self) -> int:
        """Return how many candidates count on top of the limit, since the user enqueued them."""
        return len(self._asked.keys() & self._candidates.shapes)

    def tried(self) -> int:
        """Return how many candidates of the search are not in training."""
        return self._candidates.tried()

    def resumable(self) -> Set[int]:
        """Return the numbers of paused candidates of which a checkpoint is kept."""
        return self._candidates.resumable

    def _may_go_on(self, row: CandidateRow) -> bool:
        return bool(within_limit(self._opened, [row]))

    def drop_checkpoints(self, numbers: Set[int]) -> None:
        """Delete the checkpoints of paused candidates; Optuna sees these as pruned from now on."""
        for number in sorted(numbers & self._candidates.waiting.keys()):
            row = self._candidates.waiting[number]
            self._store.set_checkpoint(self._record, row.candidate_id, None)
            self._delete_other_checkpoints(row.checkpoint, None)
            self._candidates.put(replace(row, checkpoint=None))
            self._unmirrored.append(row.candidate_id)

    def history(self) -> tuple[Observation, ...]:
        """Return what a strategy may know; the same object for as long as nothing in it changes."""
        return self._candidates.history

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
        self._delete_other_checkpoints(before, row.checkpoint)
        if row.state in FAILED_STATES:  # it may have come as far as its cooldown
            uncooled = self._opened.folder / CHECKPOINTS / f"{row.candidate_id}{UNCOOLED}"
            uncooled.unlink(missing_ok=True)
        self._unmirrored.append(row.candidate_id)
        return row

    def note_failure(self, outcome: Outcome) -> None:
        """Store why a candidate is tried again; it stays unfinished, and nothing else changes."""
        failure = Outcome(
            candidate_id=outcome.candidate_id,
            state="interrupted",
            tokens=0,
            error=outcome.error,
            traceback=outcome.traceback,
        )
        self._store.record_outcome(self._record, failure)
        self._refresh(outcome.candidate_id)

    def mirror_some(self) -> bool:
        """Show Optuna some candidates that were recorded; say whether more are left.

        Done apart, while nothing else is to do: no worker waits for it. What a search that is
        left does not come to is done by the next one.
        """
        count = min(MIRRORED_AT_ONCE, len(self._unmirrored))
        rows = [self.rows[self._unmirrored.popleft()] for _ in range(count)]
        measured = (self._measured.get(row.candidate_id, {}).values() for row in rows)
        self._mirror.add(rows, chain.from_iterable(measured))
        return bool(self._unmirrored)

    def note_checkpoint(self, candidate_id: str, checkpoint: CheckpointRef) -> None:
        """Store a running candidate's safety checkpoint and delete the one before."""
        before = self.rows[candidate_id].checkpoint
        relative = self._relative(checkpoint)
        self._store.set_checkpoint(self._record, candidate_id, relative)
        self._candidates.put(replace(self.rows[candidate_id], checkpoint=relative))
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
        for row in self.models():
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
        """Store the study's state and result; a finished one is shown to Optuna whole."""
        if state == "finished":
            while self.mirror_some():
                pass
            self._delete_leftovers()  # of workers that were killed
        self._store.set_summary(self._record, summary)
        self._store.set_state(self._record, state)

    def close(self) -> None:
        """Mirror for a moment what is left, and let go of the database."""
        until = time.monotonic() + LEAVE_SECONDS
        try:
            while self.mirror_some() and time.monotonic() < until:
                pass
        finally:
            self._mirror.close()
            self._store.close()

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
        """Keep the objectives of a measurement: nobody here asks for the rest."""
        metrics = {
            split: {
                name: value
                for name, value in values.items()
                if metric_column(split, name) in self._record.objectives
            }
            for split, values in one.evaluation.metrics.items()
        }
        bare = replace(one.evaluation, curve=(), metrics=metrics)
        known = self._measured.setdefault(one.candidate_id, {})
        known[bare.rung] = replace(one, evaluation=bare)

    def _refresh(self, candidate_id: str) -> CandidateRow:
        row = self._store.row(self._record, candidate_id)
        self._candidates.put(row)
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
        self._delete_leftovers()
        self._unmirrored.extend(self._mirror.missing(self.search_rows()))

    def _delete_leftovers(self) -> None:
        """Delete files that no row names; no worker may be writing."""
        folder = self._opened.folder
        models = {row.model_path for row in self.rows.values() if row.model_path}
        for path in (folder / MODELS).iterdir():
            if f"{MODELS}/{path.name}" not in models and _MODEL_FOLDER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        kept = {row.checkpoint.uri for row in self.rows.values() if row.checkpoint}
        going_on = tuple(r.candidate_id for r in self.rows.values() if r.state in IN_TRAINING)
        for path in (folder / CHECKPOINTS).iterdir():
            of_training = path.name.endswith(UNCOOLED) and path.name.startswith(going_on)
            is_ours = path.suffix in CHECKPOINT_SUFFIXES
            if f"{CHECKPOINTS}/{path.name}" not in kept and not of_training and is_ours:
                path.unlink(missing_ok=True)


def is_whole(path: Path, checkpoint: CheckpointRef) -> bool:
    """Say whether a checkpoint is there as it was written."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == checkpoint.sha256
    except OSError:
        return False
