"""The scripts with Optuna that `live_search.py` runs, one process a worker, and their trainers.

`tutorial` is what a course shows: depth, width, heads, feed-forward and learning rate suggested to
TPE, models beyond the limit of parameters pruned, the textbook model and loop of
`training_step.py`. `tpe-hyperband` suggests the parameters of our space and trains by
`nas.training.loop`. Both report the validation loss at the same parts of the budget and prune by
Hyperband; worker processes share the study by a journal in a file. Every validation loss becomes a
line of the run's `points.jsonl`, with the seconds since the run began and what was trained.
"""

from __future__ import annotations

import json
import math
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import optuna
import torch
import torch.nn.functional as F
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from record_training import open_recording
from torch.utils.data import DataLoader
from training_step import Textbook, Windows

from nas.data import PreparedData
from nas.driver.opening import eval_tokens
from nas.families import architecture
from nas.records import Recipe
from nas.tasks.language_modeling import LanguageModeling
from nas.training.loop import DivergedError, Training

POINTS = "points.jsonl"
PARTS = 16  # of a budget; a trial reports after so many of them:
REPORTS = (1, 4, 8, 16)
BATCH, CONTEXT = 32, 64  # of the tutorial; the context is also our recipe's
MAX_PARAMS = 1_000_000  # as the space has it

Config = dict[str, Any]  # what a trainer needs to train a trial again


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs of the benchmark share."""

    data: str  # a text
    prepared: str  # the folder of its arrays
    tokens: int
    space: str = "llama_small"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one worker process is told."""

    script: str
    folder: str
    seed: int
    worker: int
    factor: int  # of Hyperband
    begun: float  # seconds of `time.time` at the run's start
    seconds: float


class Trainer(Protocol):
    """Suggests what to train and trains it."""

    def suggest(self, trial: optuna.Trial) -> Config:
        """Return what to train; prunes the trial if that is beyond the limit."""
        ...

    def train(self, config: Config, seed: int) -> Iterator[tuple[int, float]]:
        """Yield the parts of the budget that are done and the validation loss."""
        ...

    def test(self, config: Config, seed: int) -> float:
        """Train to the full budget and return the test loss."""
        ...


class Ours:
    """Our space and our trainer."""

    def __init__(self, setting: Setting) -> None:
        recording = open_recording(setting, Path(setting.prepared))
        step, full = recording.config.recipe.tokens_per_step, setting.tokens
        rungs = tuple(max(1, full * done // PARTS // step) * step for done in REPORTS)
        self.recording = replace(recording, rungs=rungs)

    def suggest(self, trial: optuna.Trial) -> Config:
        space = self.recording.space
        asked = {p.name: trial.suggest_int(p.name, p.low, p.high, step=p.step)
                 for p in space.space.parameters}  # fmt: skip
        found = space.at(asked)
        if found is None:
            raise optuna.TrialPruned
        return dict(found.shape)

    def train(self, config: Config, seed: int) -> Iterator[tuple[int, float]]:
        measured = self.recording.train(self._architecture(config), seed)
        for done in REPORTS:
            try:
                yield done, next(measured)["val_loss"]
            except DivergedError as error:
                raise optuna.TrialPruned from error

    def test(self, config: Config, seed: int) -> float:
        job = self.recording.job(self._architecture(config), seed)
        job = replace(job, rungs=job.rungs[-1:], splits=("val", "test"))
        (last,) = Training(job).run(lambda _: None, lambda: False)
        return last.metrics["test"]["loss"]

    def _architecture(self, config: Config) -> Any:
        return architecture(self.recording.config.space.family, **config)


class Tutorial:
    """The textbook model and loop, on our data and measured as ours is."""

    def __init__(self, setting: Setting) -> None:
        self.data = PreparedData.open(setting.prepared)
        self.tokens = setting.tokens
        recipe = Recipe(context=CONTEXT, batch=BATCH, rate=0.0)  # for its context alone
        self.task = LanguageModeling(self.data, recipe, 0)
        self.windows = Windows(self.data.array("train.ids"), CONTEXT)

    def suggest(self, trial: optuna.Trial) -> Config:
        config = {
            "layers": trial.suggest_int("layers", 2, 8),
            "d_model": trial.suggest_categorical("d_model", [64, 96, 128, 160, 192, 256]),
            "heads": trial.suggest_categorical("heads", [2, 4, 8]),
            "d_ff": trial.suggest_int("d_ff", 128, 1024, step=64),
            "rate": trial.suggest_float("rate", 1e-4, 1e-2, log=True),
        }
        with torch.device("meta"):
            params = sum(weight.numel() for weight in self._model(config).parameters())
        if params > MAX_PARAMS:
            raise optuna.TrialPruned
        return config

    def train(self, config: Config, seed: int) -> Iterator[tuple[int, float]]:
        for done, model in self._fit(config, seed, REPORTS):
            yield done, self._measure(model, "val", eval_tokens((self.tokens,)))

    def test(self, config: Config, seed: int) -> float:
        ((_, model),) = self._fit(config, seed, (PARTS,))
        return self._measure(model, "test", max(self.tokens, eval_tokens((self.tokens,))))

    def _model(self, config: Config) -> Textbook:
        sizes = Namespace(block=CONTEXT, **config)
        return Textbook(sizes, self.data.spec.vocab_size, config["d_ff"])

    def _batches(self) -> Iterator[Any]:
        loader = DataLoader(self.windows, batch_size=BATCH, shuffle=True)
        while True:
            yield from loader

    def _fit(self, config: Config, seed: int, reports: tuple[int, ...]) -> Iterator[Any]:
        """Train and yield the model after each part of the budget that is asked for."""
        torch.manual_seed(seed)
        model = self._model(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config["rate"])
        batches, step = self._batches(), 0
        for done in reports:
            while step < max(1, self.tokens * done // PARTS // (BATCH * CONTEXT)):
                ids, targets = next(batches)
                optimizer.zero_grad()
                loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
                loss.backward()
                optimizer.step()
                step += 1
            yield done, model

    @torch.no_grad()
    def _measure(self, model: Textbook, split: str, most: int) -> float:
        model.eval()
        loss = self.task.evaluate(model, split, max_tokens=most)["loss"]
        model.train()
        return loss


TRAINERS = {"tutorial": Tutorial, "tpe-hyperband": Ours}


@cache
def trainer_of(name: str, setting: Setting) -> Trainer:
    """Return the trainer of a script, of ours for any other contender."""
    return TRAINERS.get(name, Ours)(setting)


def test_loss(name: str, setting: Setting, config: Config, seed: int) -> float:
    """Train a contender's recommendation from a seed and return its test loss."""
    torch.set_num_threads(1)
    return trainer_of(name, setting).test(config, seed)


def note(folder: Path, begun: float, *, loss: float, full: bool, config: Config) -> None:
    """Add a measurement to the run's points; a loss that is no number is none."""
    if math.isfinite(loss):
        seconds = round(time.time() - begun, 3)
        point = {"seconds": seconds, "loss": loss, "full": full, "config": config}
        with (folder / POINTS).open("a") as lines:  # one write: workers do not mix their lines
            lines.write(json.dumps(point) + "\n")


def objective(trial: optuna.Trial, *, trainer: Trainer, work: Work) -> float:
    config, loss = trainer.suggest(trial), math.nan
    for done, loss in trainer.train(config, work.seed):
        note(Path(work.folder), work.begun, loss=loss, full=done == PARTS, config=config)
        trial.report(loss, done)
        if done < PARTS and trial.should_prune():
            raise optuna.TrialPruned
    return loss


def search(setting: Setting, work: Work) -> None:
    """Run trials of the shared study; whoever started this process ends it."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(Path(work.folder) / "journal.log"))),
        study_name=f"{work.script}-{work.seed}",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=1000 * work.seed + work.worker),
        pruner=optuna.pruners.HyperbandPruner(1, PARTS, reduction_factor=work.factor),
    )
    trainer = trainer_of(work.script, setting)
    left = work.begun + work.seconds - time.time()
    study.optimize(partial(objective, trainer=trainer, work=work), timeout=max(0.0, left))


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    search(Setting(**told["setting"]), Work(**told["work"]))
