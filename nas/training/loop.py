"""Train one candidate from where it stands to a rung, measuring at each rung on the way.

The same seed gives the same weights, data order and losses. This module knows nothing of studies
or folders: `worker` gives it a job and writes what comes out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.data import PreparedData
from nas.families import module_class, shape_of
from nas.records import (
    MICRO_BATCH,
    UNCOOLED,
    CheckpointRef,
    Evaluation,
    Job,
    Progress,
    TaskSpec,
    from_plain,
    to_plain,
)
from nas.tasks import Task, task_class
from nas.tasks.batches import in_parts
from nas.tasks.metrics import badness
from nas.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from nas.training.numerics import autocast, place
from nas.training.optimizer import Optimizer
from nas.training.schedule import STOP_CHECKS, cooldown_start, rate_factor, rung_eval_tokens

# Points of a learning curve over the full budget; each reads the loss back once.
CURVE_POINTS = 50
# A candidate whose training loss, the mean over a fiftieth of its tokens, exceeds the first such
# mean by this factor and by this much has diverged: what is left of its budget would be wasted.
RISEN, RISEN_BY = 1.5, 0.5
PROGRESS_SECONDS = 0.5


class DivergedError(Exception):
    """The training or validation loss is no longer a finite number."""


class InterruptedTrainingError(Exception):
    """Training was asked to stop; a checkpoint holds all of it."""


class Training:
    """One candidate in training: network, optimizer, data order and progress.

    Args:
        job: What to train and by which numerics.
        network: What training begins with, which is changed; None: fresh weights. Weights that
            take no gradient stay as they are.
        head: Of such a network, the weights that learn at the whole rate (see `Optimizer`).
    """

    def __init__(
        self,
        job: Job,
        network: nn.Module | None = None,
        head: Sequence[nn.Parameter] | None = None,
    ) -> None:
        self.job, self.recipe = job, job.candidate.recipe
        prepared = PreparedData.open(job.data)
        self.task: Task = task_class(job.task_spec.task)(prepared, self.recipe, job.candidate.seed)
        if network is None:
            self.network = build_network(job)
        else:
            self.network = place(network, job.numerics, self.recipe.dropout)
        self.optimizer = Optimizer(self.network, self.recipe, head)
        self.state = TrainingState()
        self._loss_sum = torch.zeros((), device=job.numerics.device)
        self._best: dict[str, torch.Tensor] = {}  # the weights that an early stop returns to
        self._pulse: _Pulse | None = None  # while it runs
        if job.checkpoint is not None:
            self.state, loss_sum, self._best = load_checkpoint(
                job.checkpoint,
                candidate_id=job.candidate.origin,
                network=self.network,
                optimizer=self.optimizer,
            )
            self._loss_sum = loss_sum.to(job.numerics.device)

    @property
    def tokens(self) -> int:
        """Tokens seen so far."""
        return self.state.step * self.recipe.tokens_per_step

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """What was measured so far, one a rung."""
        return tuple(from_plain(Evaluation, plain) for plain in self.state.measured)

    def note_metrics(self, split: str, values: Mapping[str, float]) -> None:
        """Add metrics that someone else measured to the last measurement."""
        self.state.measured[-1]["metrics"].setdefault(split, {}).update(values)

    def run(
        self, report: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> tuple[Evaluation, ...]:
        """Train to the job's rung and measure at each rung passed.

        Args:
            report: Called about twice a second.
            should_stop: Asked before each step.

        Raises:
            DivergedError: If a loss is not finite.
            InterruptedTrainingError: If `should_stop` said so.
        """
        self._pulse = pulse = _Pulse(self, report)
        for rung in range(len(self.state.measured), self.job.rung + 1):
            self._train_to(self.job.rungs[rung], pulse, should_stop)
            if rung == len(self.job.rungs) - 1:
                self._return_to_best()
            self.state.measured.append(to_plain(self._measure(rung)))
            pulse.tell()
        return self.evaluations

    def _train_to(self, tokens: int, pulse: _Pulse, should_stop: Callable[[], bool]) -> None:
        last = tokens // self.recipe.tokens_per_step
        every, check_every = self._every(CURVE_POINTS), self._every(STOP_CHECKS)
        self.network.train()
        while self.state.step < last and not self.state.stopped:
            if should_stop():
                raise InterruptedTrainingError
            self._keep_uncooled()
            begun = time.perf_counter()
            self.step()
            if self.state.step % every == 0 or self.state.step == last:
                self._add_curve_point()
            self.state.seconds += time.perf_counter() - begun
            if self.recipe.early_stop and self.state.step % check_every == 0:
                self._check_stop()
            pulse.beat()

    def _keep_uncooled(self) -> None:
        """Write a checkpoint of its own if the next step is the first of the cooldown."""
        job, state = self.job, self.state
        if not job.keep_uncooled or state.uncooled is not None or job.checkpoint_dir is None:
            return
        if self.tokens > cooldown_start(self.recipe, job.rungs[-1]):
            name = f"{job.candidate.id}{UNCOOLED}"
            kept = self._save_as(Path(job.checkpoint_dir) / name)
            state.uncooled = to_plain(replace(kept, uri=name))

    @property
    def uncooled(self) -> CheckpointRef | None:
        """The checkpoint from before the cooldown, if it was kept."""
        if self.state.uncooled is None or self.job.checkpoint_dir is None:
            return None
        kept = from_plain(CheckpointRef, self.state.uncooled)
        return replace(kept, uri=str(Path(self.job.checkpoint_dir) / kept.uri))

    def _every(self, times: int) -> int:
        """Return after how many steps something is done that the full budget holds so often."""
        return max(1, self.job.rungs[-1] // self.recipe.tokens_per_step // times)

    def _check_stop(self) -> None:
        """Validate; remember the weights if they are the best, end if they long have not been."""
        objective = self.job.objective
        found = badness(self.measure("val")[objective.removeprefix("val_")], objective)
        self.network.train()
        if self.state.best is None or found < self.state.best:
            self.state.best, self.state.stale = found, 0
            weights = self.network.named_parameters()
            self._best = {name: weight.detach().clone() for name, weight in weights}
            return
        self.state.stale += 1
        self.state.stopped = self.state.stale >= self.recipe.early_stop

    @torch.no_grad()
    def _return_to_best(self) -> None:
        for name, weight in self.network.named_parameters() if self._best else ():
            weight.copy_(self._best[name])

    def step(self) -> None:
        """Run one training step.

        In parts of a batch it is the same but for rounding, and for which numbers dropout draws.
        """
        factor = rate_factor(self.tokens, self.recipe, self.job.rungs[-1])
        if self.recipe.dropout:
            torch.manual_seed(self.job.candidate.seed * 1_000_003 + self.state.step)
        batch = self.task.batch(self.state.step)
        if self.job.micro_batch is None:
            self._add_gradient(batch)
        else:
            for part, share in in_parts(self.task, batch, self.job.micro_batch):
                self._add_gradient(part, share)
        self.optimizer.step(factor)
        self.state.step += 1
        self.state.loss_steps += 1

    def _add_gradient(self, batch: Any, share: float | None = None) -> None:
        with autocast(self.job.numerics):
            loss = self.task.loss(self.network, batch)
        if share is not None:
            loss = loss * share
        loss.backward()
        self._loss_sum += loss.detach()

    def _add_curve_point(self) -> None:
        mean = float(self._loss_sum) / self.state.loss_steps
        if not math.isfinite(mean):
            raise DivergedError(f"the training loss is {mean} after {self.tokens} tokens")
        self.state.curve.append((self.tokens, mean))
        first = self.state.curve[0][1]
        if mean > RISEN * first + RISEN_BY:
            raise DivergedError(
                f"the training loss has risen from {first:.3g} to {mean:.3g} nats "
                f"after {self.tokens} tokens"
            )
        self._loss_sum.zero_()
        self.state.loss_steps = 0

    def _measure(self, rung: int) -> Evaluation:
        if rung == len(self.job.rungs) - 1:
            metrics = {split: self.measure(split) for split in self.job.splits}
        else:
            most = rung_eval_tokens(self.job.rungs[rung], self.job.eval_tokens)
            metrics = {"val": self.measure("val", most)}
        for split, values in metrics.items():
            if not math.isfinite(values["loss"]):
                raise DivergedError(f"the {split} loss is {values['loss']} at {self.tokens} tokens")
        if self.job.micro_batch is not None:
            metrics[""] = {MICRO_BATCH: float(self.job.micro_batch)}
        return Evaluation(
            rung=rung,
            tokens=self.tokens,
            seconds=self.state.seconds,
            metrics=metrics,
            curve=tuple(self.state.curve),
        )

    @torch.no_grad()
    def measure(self, split: str, most: int | None = None) -> dict[str, float]:
        """Return the task's metrics on a split; of test, read once, more (see `Job`).

        Args:
            split: "val" or "test".
            most: Tokens to read at most; None: what the job says.
        """
        self.network.eval()
        most = most or self.job.eval_tokens
        if split == "test":
            most = max(most, self.job.test_tokens or self.job.rungs[-1])
        with autocast(self.job.numerics), self._signs_of_life():
            values = self.task.evaluate(self.network, split, max_tokens=most)
        return dict(values)

    @contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        """Report while the network is asked: a measurement may take minutes, which is no hang."""
        with ExitStack() as stack:
            if self._pulse is not None:
                for part in self.network.modules():
                    hook = part.register_forward_pre_hook(self._pulse.on_call)
                    stack.callback(hook.remove)
            yield

    def save(self, folder: Path) -> CheckpointRef:
        """Write a checkpoint of all there is to a folder.

        Raises:
            OSError: If it cannot be written.
        """
        return self._save_as(folder / f"{self.job.candidate.id}-{self.tokens}.safetensors")

    def _save_as(self, path: Path) -> CheckpointRef:
        return save_checkpoint(
            path,
            candidate_id=self.job.candidate.origin,
            tokens=self.tokens,
            state=self.state,
            loss_sum=self._loss_sum,
            best=self._best,
            network=self.network,
            optimizer=self.optimizer,
        )


class _Pulse:
    """Reports progress twice a second and writes a safety checkpoint now and then."""

    def __init__(self, training: Training, report: Callable[[Progress], None]) -> None:
        self._training, self._report = training, report
        self._begun = self._reported = self._saved = time.perf_counter()

    def beat(self) -> None:
        now = time.perf_counter()
        if now - self._saved >= self._training.job.checkpoint_seconds:
            self._saved = now
            self._send(now, self._save())
        elif now - self._reported >= PROGRESS_SECONDS:
            self._send(now, None)

    def tell(self) -> None:
        """Report at once: there is something new to know."""
        self._send(time.perf_counter(), None)

    def on_call(self, *_call: object) -> None:
        """Report if it is time, but save nothing: the training stands between two steps."""
        now = time.perf_counter()
        if now - self._reported >= PROGRESS_SECONDS:
            self._send(now, None)

    def _send(self, now: float, checkpoint: CheckpointRef | None) -> None:
        self._reported = now
        training = self._training
        curve, measured = training.state.curve, training.state.measured
        self._report(
            Progress(
                candidate_id=training.job.candidate.id,
                tokens=training.tokens,
                train_loss=curve[-1][1] if curve else None,
                seconds=now - self._begun,
                val_loss=measured[-1]["metrics"]["val"]["loss"] if measured else None,
                checkpoint=checkpoint,
            )
        )

    def _save(self) -> CheckpointRef | None:
        if self._training.job.checkpoint_dir is None:
            return None
        return self._training.save(Path(self._training.job.checkpoint_dir))


def build_network(job: Job) -> nn.Module:
    """Build a job's network with weights drawn from the candidate's seed, on its device."""
    network = fresh_network(job.candidate.architecture, job.task_spec, job.candidate.seed)
    return place(network, job.numerics, job.candidate.recipe.dropout)


def fresh_network(architecture: Any, spec: TaskSpec, seed: int) -> nn.Module:
    """Build a network with weights drawn from a seed, on the CPU."""
    network: nn.Module = module_class(architecture.family)(shape_of(architecture), spec)
    network.initialise(torch.Generator().manual_seed(seed))  # type: ignore[operator]  # every family's module has it
    return network
