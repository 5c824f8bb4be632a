"""Train shapes of a space and write down what each rung measured and what it took.

    python tests/benchmarks/record_training.py --out trained.csv [--shapes 84] [--seeds 2]

The reference and uniform feasible draws are trained by `Training` to the full budget, one CPU
thread each. A row of the table is a measurement: shape, seed, tokens, validation loss, the CPU
seconds of training up to there and of the validation alone. Called again it goes on where it was.
`replay_training.py` searches such a table; the one beside this file is of `llama_small` on the
language reference of Python, bf16 on an Intel Xeon with AMX.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import torch

from nas.config import StudyConfig, config_from_plain
from nas.data import PreparedData
from nas.driver.opening import eval_tokens, recipe_of, spec_of
from nas.families import shape_of
from nas.records import Architecture, Candidate, Job, Numerics
from nas.space import BoundSpace
from nas.strategies import Observation
from nas.strategies.random import RandomStrategy
from nas.tasks import task_class
from nas.training.loop import Training
from nas.training.numerics import arithmetic
from nas.worker import probe

FRACTIONS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the tokens, where it is measured
COLUMNS = ("params", "non_embedding_params", "train_flops_per_token")
MEASURED = ("seed", "tokens", "val_loss", "train_cpu_seconds", "val_cpu_seconds")


class TimedTraining(Training):
    """Keeps the CPU seconds of the last validation."""

    validating = 0.0

    def measure(self, split: str, most: int | None = None) -> dict[str, float]:
        begun = time.process_time()
        found = super().measure(split, most)
        self.validating = time.process_time() - begun
        return found


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What all trainings share."""

    config: StudyConfig
    data: PreparedData
    space: BoundSpace
    rungs: tuple[int, ...]
    numerics: Numerics

    def job(self, architecture: Architecture, seed: int) -> Job:
        return Job(
            study="recorded",
            candidate=Candidate(
                architecture=architecture,
                recipe=recipe_of(self.config, self.rungs),
                seed=seed,
                data_fingerprint=self.data.info.fingerprint,
            ),
            task_spec=self.space.spec,
            data=str(self.data.folder),
            rungs=self.rungs,
            rung=0,
            numerics=self.numerics,
            eval_tokens=eval_tokens(self.rungs),
        )

    def train(self, architecture: Architecture, seed: int) -> Iterator[dict[str, float]]:
        """Yield the measurements of one training."""
        training, seconds = TimedTraining(self.job(architecture, seed)), 0.0
        for rung in range(len(self.rungs)):
            training.job = replace(training.job, rung=rung)
            begun = time.process_time()
            training.run(lambda _: None, lambda: False)
            seconds += time.process_time() - begun - training.validating
            last = training.evaluations[-1]
            yield {
                "seed": seed,
                "tokens": last.tokens,
                "val_loss": round(last.metrics["val"]["loss"], 5),
                "train_cpu_seconds": round(seconds, 3),
                "val_cpu_seconds": round(training.validating, 3),
            }


def shapes(space: BoundSpace, count: int) -> list[Architecture]:
    """Return the reference and different feasible draws."""
    random, found = RandomStrategy(space, seed=0, directions=["minimize"]), []
    history: list[Observation] = []
    while len(found) < count:
        first = space.space.reference if not found else None
        architecture = first or random.propose(history, len(found))
        if architecture is None:
            break
        history.append(
            Observation(
                number=len(found),
                architecture_id=architecture.id,
                parameters=space.space.encode(architecture),
                state="complete",
                values=(0.0,),
            )
        )
        found.append(architecture)
    return found


def open_recording(options: argparse.Namespace, folder: Path) -> Recording:
    plain = {
        "format_version": 1,
        "space": options.space,
        "task": {"name": "language_modeling", "data": options.data},
        "per_candidate": {"tokens": options.tokens},
    }
    config = config_from_plain(plain, where="benchmark", name="recorded")
    data = task_class("language_modeling").prepare(config.request, folder)
    space = config.space.bind(
        spec_of(config, data), context=config.recipe.context, batch=config.recipe.batch
    )
    step = config.recipe.tokens_per_step
    rungs = tuple(max(1, int(options.tokens * share) // step) * step for share in FRACTIONS)
    asked = Numerics(device="cpu", precision="auto", attention="auto", threads=1)
    draft = Recording(config=config, data=data, space=space, rungs=rungs, numerics=asked)
    return replace(draft, numerics=probe(draft.job(shapes(space, 1)[0], 0)))


def record(recording: Recording, options: argparse.Namespace, table: TextIO) -> None:
    done = {(row["architecture_id"], int(row["seed"])) for row in csv.DictReader(table)}
    found = shapes(recording.space, options.shapes)
    fields = [d.name for d in recording.space.space.dimensions]
    writer = csv.DictWriter(table, ["architecture_id", *fields, *COLUMNS, *MEASURED])
    if not done:
        writer.writeheader()
    for seed in range(options.seeds):
        for architecture in found:
            if (architecture.id, seed) in done:
                continue
            shape, columns = shape_of(architecture), recording.space.columns(architecture)
            own = {name: getattr(shape, name) for name in fields}
            own |= {name: columns[name] for name in COLUMNS}
            rows = [
                {"architecture_id": architecture.id, **own, **measured}
                for measured in recording.train(architecture, seed)
            ]
            writer.writerows(rows)
            table.flush()
            print(own, rows[-1]["val_loss"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--space", default="llama_small")
    parser.add_argument("--data", default="builtin:python-docs")
    parser.add_argument("--shapes", type=int, default=84)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, options.out.open("a+", newline="") as table:
        recording = open_recording(options, Path(folder) / "data")
        table.seek(0)
        with arithmetic(recording.numerics):
            record(recording, options, table)


if __name__ == "__main__":
    main()
