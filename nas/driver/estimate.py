"""What a search would look at and take, from its space and a few timed steps; nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.config import StudyConfig
from nas.data import PreparedData
from nas.driver.beginning import timed
from nas.driver.budgets import rungs_for
from nas.driver.opening import (
    WORKER_THREADS,
    eval_tokens,
    first_rungs,
    recipe_of,
    spec_of,
    typical_shape,
)
from nas.driver.pace import Pace
from nas.driver.sizing import job_bytes
from nas.driver.warm import results_of_other
from nas.executors import make_executor
from nas.executors.planning import planned_slots
from nas.records import Candidate, Job, Numerics
from nas.space import BoundSpace
from nas.tasks import task_class
from nas.training.schedule import STOP_CHECKS, rung_eval_tokens

DRAWS = 200  # shapes whose mean cost stands for a candidate's
# A measurement is a forward pass, a third of a training step's work.
FORWARD_SHARE = 1 / 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a search would work on.

    Attributes:
        config: The study file.
        space: Its space under its constraints.
        prepared: Its data, in a folder that need not stay.
        slots: How many candidates train at once.
    """

    config: StudyConfig
    space: BoundSpace
    prepared: PreparedData
    slots: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a candidate takes.

    Attributes:
        numerics: The arithmetic that was chosen.
        pace: Of this machine.
        flops_per_token: Of training, the mean over shapes.
        eval_tokens: What a measurement reads.
        seconds: Of a candidate alone on a worker, the mean over shapes.
        tokens: Of the reference's training.
    """

    numerics: Numerics
    pace: Pace
    flops_per_token: float
    eval_tokens: int
    seconds: float
    tokens: int


def plan_search(config: StudyConfig, folder: Path) -> Plan:
    """Prepare data and space as a search would.

    Args:
        config: The study file.
        folder: Where the data go; made if missing.

    Raises:
        InputError: If anything is wrong that the search would refuse.
        NasError: If a Ray cluster that is asked for cannot be joined.
    """
    prepared = task_class(config.task.name).prepare(config.request, folder)
    recipe = config.recipe
    space = config.space.bind(spec_of(config, prepared), context=recipe.context, batch=recipe.batch)
    results_of_other(config, space)  # refuses what the search would
    slots = planned_slots(
        config.executor,
        workers=config.workers,
        threads=WORKER_THREADS,
        device=config.device,
        job_bytes=job_bytes(space, config.seed),
    )
    return Plan(config=config, space=space, prepared=prepared, slots=slots)


def estimate(plan: Plan, rng: np.random.Generator) -> Estimate:
    """Time a few steps of one shape and return what a candidate takes; imports torch.

    Args:
        plan: From `plan_search`.
        rng: Draws the shapes whose mean it is.

    Raises:
        NasError: If a shape cannot be trained here.
    """
    from nas.worker import probe

    config, space = plan.config, plan.space
    shape = typical_shape(space, config.seed)
    job = _job(plan, shape)
    job = replace(job, numerics=probe(job))
    columns = space.columns(shape)
    pace = _pace(job, columns["train_flops_per_token"])
    drawn = [space.columns(space.sample(rng)) for _ in range(DRAWS)]
    step, speed = config.recipe.tokens_per_step, pace.flops_per_second
    return Estimate(
        numerics=job.numerics,
        pace=pace,
        flops_per_token=sum(one["train_flops_per_token"] for one in drawn) / DRAWS,
        eval_tokens=job.eval_tokens,
        seconds=sum(_seconds(config, pace, job.eval_tokens, one) for one in drawn) / DRAWS,
        tokens=rungs_for(config.budget, step, columns, speed)[-1],
    )


def _seconds(config: StudyConfig, pace: Pace, measured: int, columns: Mapping[str, float]) -> float:
    """Return what training and measuring a shape takes."""
    rungs = rungs_for(config.budget, config.recipe.tokens_per_step, columns, pace.flops_per_second)
    whole = 1 + (STOP_CHECKS if config.recipe.early_stop else 0)
    before = sum(rung_eval_tokens(rung, measured) for rung in rungs[:-1])
    read = rungs[-1] + (whole * measured + before) * FORWARD_SHARE
    flops_per_token = columns["train_flops_per_token"]
    found = pace.predict(tokens=round(read), flops_per_token=flops_per_token)
    assert found is not None, "the pace has learned"
    return found


def _pace(job: Job, flops_per_token: float) -> Pace:
    """Return the pace of this machine from a few steps of a job."""
    executor = make_executor(
        "inline", workers=1, threads=WORKER_THREADS, device=job.numerics.device, job_bytes=0
    )
    try:
        tokens, seconds = timed(executor, job)
    finally:
        executor.close()
    pace = Pace()
    pace.learn(tokens=tokens, flops_per_token=flops_per_token, seconds=seconds)
    return pace


def _job(plan: Plan, shape: Any) -> Job:
    config = plan.config
    rungs = first_rungs(config, plan.space)
    candidate = Candidate(
        architecture=shape,
        recipe=recipe_of(config, rungs),
        seed=config.seed,
        data_fingerprint=plan.prepared.info.fingerprint,
    )
    return Job(
        study=config.name,
        candidate=candidate,
        task_spec=plan.space.spec,
        data=str(plan.prepared.folder),
        rungs=rungs,
        rung=0,
        numerics=Numerics(
            device=config.device,
            precision=config.recipe.precision,
            attention="auto",
            threads=WORKER_THREADS,
        ),
        eval_tokens=min(eval_tokens(rungs), plan.prepared.info.tokens["val"]),
    )
