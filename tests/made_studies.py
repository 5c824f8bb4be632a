"""Studies for tests, written as a driver writes them; nothing is trained for them.

Losses fall with size and tokens, with a luck that the shape's and the candidate's id decide, so
that fronts, fits and correlations have something to find. A clock of the study's own says when
things happened. All candidates go into one transaction: a thousand take seconds.

    python tests/made_studies.py studies/many --candidates 1000
"""

from __future__ import annotations

import argparse
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import sqlalchemy as sa
from made_tasks import TASKS

from nas.config import StudyConfig, config_from_plain
from nas.driver.finalists import entrants
from nas.driver.opening import first_rungs, recipe_of, typical_shape, versions
from nas.finals import summarise
from nas.records import (
    Architecture,
    Candidate,
    CheckpointRef,
    Evaluation,
    Numerics,
    Outcome,
    Recipe,
)
from nas.space import BoundSpace
from nas.store import ranking, writes
from nas.store.hypervolume import front_summary
from nas.store.rows import CandidateRow, StudyRecord
from nas.store.store import Store
from nas.strategies import Observation
from nas.strategies.halving import Halving
from nas.study import Study, open_study
from nas.tasks.metrics import direction

BEGAN = datetime(2026, 1, 2, 9, 0, tzinfo=UTC)
PACE = 2e11  # equivalent FLOPs a second
BETWEEN = 0.05  # seconds from the end of a candidate to the beginning of the next one
CURVE_POINTS = 50  # over the full budget, as in training

# How candidates end, in turn. A search trains the first ones to the end, then it pauses.
MIXED = (
    *("complete",) * 6,
    *("paused", "paused", "diverged", "complete", "paused", "failed", "paused"),
    *("complete", "paused", "oom", "paused", "complete", "paused", "paused"),
)
ALL_FAILED = ("failed", "diverged", "oom", "timeout")
ERRORS = {
    "failed": "ValueError: head_dim 12 is no multiple of 8",
    "diverged": "the loss is nan after 4,096 tokens",
    "oom": "OutOfMemoryError: tried to allocate 2.00 GiB",
    "timeout": "no sign of life for 120 s",
}
TRACEBACK = 'Traceback (most recent call last):\n  File "loop.py", line 12, in step\n'


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a study is to hold.

    Attributes:
        name: Its name; also one that no study file may have, as a hostile database does.
        candidates: Of the search, the reference among them.
        ends: The states in which they end, in turn.
        seeds: Fresh seeds of the finals; 0: there are none.
        finished: Whether the search is over; else its last two candidates are still running.
        errors: Of the states that have one.
        changes: Sections of the study file that are otherwise.
    """

    name: str = "made"
    task: str = "language_modeling"
    candidates: int = 50
    objectives: tuple[str, ...] = ("val_loss",)
    ends: Sequence[str] = MIXED
    seeds: int = 3
    seed: int = 0
    finished: bool = True
    fingerprint: str = "abc123"
    errors: Mapping[str, str] = field(default_factory=lambda: ERRORS)
    traceback: str = TRACEBACK
    changes: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> StudyConfig:
        task, is_image = TASKS[self.task], self.task == "image_classification"
        unit = "tokens" if TASKS[self.task].spec.head == "causal_lm" else "examples"
        recipe = {"batch": 12, "rate": 0.01, "precision": "fp32"}
        plain = {
            "format_version": 1,
            "space": task.space,
            "task": {"name": self.task, "data": task.data},
            "recipe": recipe if is_image else {"context": 64, **recipe},
            "objectives": list(self.objectives),
            "per_candidate": {unit: 400_000 if unit == "tokens" else 20_000},
            "finalists": {"top": 3 if self.seeds else 0, "seeds": self.seeds or 1},
            "stop": {"candidates": max(self.candidates, 1)},
            "workers": 1,
            "device": "cpu",
            "seed": self.seed,
        }
        return config_from_plain(plain | dict(self.changes), where="made", name="made")


def make_study(folder: Path, *, url: str | None = None, **options: Any) -> Study:
    """Write a study into its folder, `studies/NAME`, and open it.

    Args:
        folder: The study's own folder; made if it is missing.
        url: The database, if it is not the folder's `study.db`.
        options: See `Made`.
    """
    made = Made(**options)
    for name in ("models", "checkpoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with Store.open(url or folder / "study.db", create=True) as store:
        Maker(made, store).write()
    return open_study(f"{url}#{made.name}" if url else folder)


def change_metric(study: Study, candidate_id: str, value: float, name: str = "loss") -> None:
    """Write another number for what a candidate was measured at on val, as a hand in SQL would."""
    with sqlite3.connect(study.database) as database:
        found = database.execute(
            "UPDATE nas_metric SET value = ? WHERE candidate_id = ? AND split = 'val' "
            "AND name = ? AND rung = (SELECT MAX(rung) FROM nas_evaluation WHERE candidate_id = ?)",
            (value, candidate_id, name, candidate_id),
        )
        assert found.rowcount == 1
    database.close()


class Clock:
    """The time at which the next thing happens."""

    def __init__(self) -> None:
        self.time = BEGAN

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    @property
    def seconds(self) -> float:
        return (self.time - BEGAN).total_seconds()


class Maker:
    """Writes one study."""

    def __init__(self, made: Made, store: Store) -> None:
        self.made, self.store, self.task = made, store, TASKS[made.task]
        self.config = made.config()
        recipe = self.config.recipe
        self.space: BoundSpace = self.config.space.bind(
            self.task.spec, context=recipe.context, batch=recipe.batch
        )
        self.rungs = first_rungs(self.config, self.space)
        self.recipe: Recipe = recipe_of(self.config, self.rungs)
        self.clock = Clock()

    def write(self) -> None:
        made = self.made
        numerics = Numerics(device="cpu", precision="fp32", attention="sdpa", threads=1)
        with patch.object(writes, "now", self.clock):
            record = self.store.create_study(
                made.name,
                config=self.config.to_plain(),
                identity=self.config.identity(),
                rungs=self.rungs,
                objectives=made.objectives,
                data_fingerprint=made.fingerprint,
                task_spec=self.task.spec,
                versions=versions(),
                numerics=numerics,
            )
            with self.store._write() as connection:
                for number, shape in enumerate(self._shapes()):
                    self._search(connection, record, number, shape)
            self._finish(record)

    def _shapes(self) -> Iterator[Architecture]:
        """Yield the reference and then shapes at random, each once."""
        rng, seen = np.random.default_rng(self.made.seed), set()
        shape = typical_shape(self.space, self.made.seed)
        for _ in range(self.made.candidates):
            while shape.id in seen:
                shape = self.space.sample(rng)
            seen.add(shape.id)
            yield shape

    def _search(
        self, connection: sa.Connection, record: StudyRecord, number: int, shape: Architecture
    ) -> None:
        end = self.made.ends[number % len(self.made.ends)]
        runs = not self.made.finished and number >= self.made.candidates - 2
        self._train(
            connection, record, shape, self.made.seed, number, "search", "running" if runs else end
        )

    def _train(
        self,
        connection: sa.Connection,
        record: StudyRecord,
        shape: Architecture,
        seed: int,
        number: int,
        role: str,
        state: str,
    ) -> None:
        """Store a candidate and how it ended."""
        candidate = Candidate(
            architecture=shape,
            recipe=self.recipe,
            seed=seed,
            data_fingerprint=self.made.fingerprint,
        )
        columns = self.space.columns(shape)
        writes.insert_candidate(
            connection,
            record,
            candidate,
            number=number,
            role=role,
            columns=columns,
            parameters=self.space.space.encode(shape),
        )
        if state == "running":
            return
        outcome = self._outcome(candidate, columns, state, test=role != "search")
        self.clock.forward(sum(outcome.timings[n] for n in ("build", "run", "save")))
        assert writes.apply_outcome(connection, record, outcome, 0)
        self.clock.forward(BETWEEN)

    def _outcome(
        self, candidate: Candidate, columns: Mapping[str, float], state: str, *, test: bool
    ) -> Outcome:
        measured = {"complete": len(self.rungs), "paused": 1}.get(state, 0)
        evaluations = tuple(
            self._measured(candidate, columns, rung, test=test) for rung in range(measured)
        )
        tokens = evaluations[-1].tokens if evaluations else self.rungs[0] // 4
        train = self._seconds(columns, tokens)
        waits = state == "paused" and not self.made.finished
        return Outcome(
            candidate_id=candidate.id,
            state=state,
            tokens=tokens,
            evaluations=evaluations,
            checkpoint=_checkpoint(candidate, tokens) if waits else None,
            timings={"build": 0.02, "run": 1.1 * train, "train": train, "save": 0.02},
            error=self.made.errors.get(state, ""),
            traceback=self.made.traceback + self.made.errors[state] if state == "failed" else "",
        )

    def _seconds(self, columns: Mapping[str, float], tokens: int) -> float:
        return columns["train_flops_per_token"] * tokens / PACE

    def _measured(
        self, candidate: Candidate, columns: Mapping[str, float], rung: int, *, test: bool
    ) -> Evaluation:
        tokens = self.rungs[rung]
        loss = _loss(candidate, columns["params"], tokens / self.rungs[-1])
        metrics = {"val": self.task.metrics(loss)}
        if test and rung == len(self.rungs) - 1:
            metrics["test"] = self.task.metrics(loss + 0.02)
        if self.config.latency is not None:
            median = 0.1 + columns["params"] / 4e5 * random.Random(candidate.id).uniform(0.8, 1.2)
            metrics[""] = {
                "latency_ms": median, "latency_iqr_ms": 0.05 * median, "throughput": 1e3 / median,
            }  # fmt: skip
        points = max(1, CURVE_POINTS * tokens // self.rungs[-1])
        ends = [tokens * (n + 1) // points for n in range(points)]
        curve = tuple((end, loss * (tokens / end) ** 0.05) for end in ends)
        seconds = self._seconds(columns, tokens)
        return Evaluation(rung=rung, tokens=tokens, seconds=seconds, metrics=metrics, curve=curve)

    def _finish(self, record: StudyRecord) -> None:
        """Hold the finals and store the result, if the search is over and has one."""
        rows = self.store.rows(record)
        objective = self.made.objectives[0]
        done = [row for row in rows if row.state == "complete"]
        complete = ranking.best_first(done, objective)
        if not self.made.finished or not complete:
            self._keep(record, complete[: self.config.keep])
            return
        reference = self.config.space.reference
        reference_id = None if reference is None else reference.id
        self._finals(record, complete, reference_id)
        groups = Study(url=self.store.url, folder=Path(), name=record.name).finalists()
        summary = summarise(groups, complete, objective, reference_id)
        if len(self.made.objectives) > 1:
            summary["pareto"] = front_summary(complete, self.made.objectives)
        summary["fidelity"] = self._fidelity(record, rows)
        self._keep(record, self._kept(record, complete, summary["winner"]))
        self.store.set_summary(record, summary | {"elapsed_seconds": self.clock.seconds})
        self.store.set_state(record, "finished")

    def _finals(
        self, record: StudyRecord, complete: Sequence[CandidateRow], reference_id: str | None
    ) -> None:
        found = entrants(complete, reference_id, self.config.finalists.top)
        by_id = {row.architecture_id: row for row in reversed(complete)}
        with self.store._write() as connection:
            for turn in range(1, self.made.seeds + 1):
                for one in found:
                    role = "reference" if one.is_reference else "finalist"
                    shape, seed = by_id[one.architecture_id].architecture, self.made.seed + turn
                    self._train(connection, record, shape, seed, one.number, role, "complete")

    def _fidelity(self, record: StudyRecord, rows: Sequence[CandidateRow]) -> list[dict[str, Any]]:
        objective, measured = self.made.objectives[0], {}
        for one in self.store.evaluations(record):
            if objective in one.metrics:
                measured.setdefault(one.candidate_id, []).append(
                    (one.evaluation.rung, (one.metrics[objective],))
                )
        history = [self._observation(row, measured.get(row.candidate_id, ())) for row in rows]
        halving = Halving(rungs=len(self.rungs), direction=direction(objective))
        unit, amounts = self.config.budget.unit, self.config.budget.amounts
        return [
            {"tokens": self.rungs[one.rung], "unit": unit, "amount": amounts[one.rung]}
            | asdict(one)
            for one in halving.fidelity(history)
        ]

    def _observation(
        self, row: CandidateRow, measured: Sequence[tuple[int, tuple[float, ...]]]
    ) -> Observation:
        last = len(self.rungs) - 1
        return Observation(
            number=row.number,
            architecture_id=row.architecture_id,
            parameters=row.parameters,
            state=row.state,
            values=measured[-1][1] if row.state == "complete" else None,
            columns=row.columns,
            rungs=tuple(one for one in measured if one[0] < last),
        )

    def _kept(
        self, record: StudyRecord, complete: Sequence[CandidateRow], winner: str
    ) -> list[CandidateRow]:
        done = [row for row in self.store.rows(record) if row.state == "complete"]
        best = ranking.best_first(done, self.made.objectives[0])
        own = next(row for row in best if row.architecture_id == winner)
        return [own, *(row for row in best[: self.config.keep] if row is not own)]

    def _keep(self, record: StudyRecord, rows: Sequence[CandidateRow]) -> None:
        for row in rows:
            self.store.record_model(
                record,
                row.candidate_id,
                path=f"models/{row.candidate_id}",
                size_bytes=4 * int(row.params or 0),
                sha256="0" * 64,
            )


def _loss(candidate: Candidate, params: float, share: float) -> float:
    """Return a loss after a share of the budget, of a shape's and of a candidate's own luck."""
    of_shape = random.Random(candidate.architecture.id).gauss(0, 0.02)
    own = random.Random(candidate.id)
    early = own.gauss(0, 0.01) if share < 1 else 0.0
    return (0.8 + 6 * params**-0.15 + of_shape + own.gauss(0, 0.005) + early) * share**-0.05


def _checkpoint(candidate: Candidate, tokens: int) -> CheckpointRef:
    uri = f"checkpoints/{candidate.id}-{tokens}.safetensors"
    return CheckpointRef(uri=uri, sha256="0" * 64, bytes=1, tokens=tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--task", choices=TASKS, default="language_modeling")
    parser.add_argument("--objectives", nargs="+", default=["val_loss"])
    parser.add_argument("--seed", type=int, default=0)
    args = vars(parser.parse_args())
    folder = args.pop("folder")
    print(make_study(folder, **args | {"name": folder.name, "objectives": (*args["objectives"],)}))


if __name__ == "__main__":
    main()
