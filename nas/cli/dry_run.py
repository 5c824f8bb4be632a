"""`nas search --dry-run`: what a search would cost, from its space and a few timed steps.

Nothing is kept: data is prepared in a temporary folder, and no study is made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.cli import terminal
from nas.cli.tables import show_pairs
from nas.cli.wording import budget_words, count, duration, several, size
from nas.driver.beginning import timed
from nas.driver.budgets import rungs_for
from nas.driver.databases import database_of
from nas.driver.disk import disk_need, free_bytes
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
from nas.places import holds_study
from nas.records import Candidate, Job, Numerics
from nas.space import BoundSpace
from nas.space.rated import FACTORS
from nas.study import studies_folder
from nas.tasks import task_class

if TYPE_CHECKING:
    from nas.config import StudyConfig
    from nas.data import PreparedData

DRAWS = 200  # shapes whose mean cost stands for a candidate's


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was looked at before anything is estimated."""

    config: StudyConfig
    space: BoundSpace
    prepared: PreparedData
    described: dict[str, Any]
    slots: int = 1  # until the executor is asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a candidate takes."""

    numerics: Numerics
    seconds: float  # alone on a worker, the mean over shapes
    tokens: int  # of the reference


def show_estimate(config: StudyConfig) -> None:
    """Write what a search of these settings would look at and take.

    Raises:
        InputError: If anything is wrong that the search would refuse.
    """
    rng = np.random.default_rng(config.seed)
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        plan = _plan(config, Path(folder) / "data", rng)
        _show_existing(config)
        show_pairs(_space_pairs(plan.described))
        terminal.say("timing a few steps of one shape...")
        estimate = _estimate(plan, rng)
        plan = replace(plan, slots=_slots(plan))
        pairs = _cost_pairs(plan, estimate)
    show_pairs(pairs)


def _plan(config: StudyConfig, folder: Path, rng: np.random.Generator) -> Plan:
    task = task_class(config.task.name)
    context = config.recipe.context
    prepared = task.prepare(config.request, folder)
    space = config.space.bind(spec_of(config, prepared), context=context, batch=config.recipe.batch)
    results_of_other(config, space)  # refuses what the search would
    return Plan(
        config=config,
        space=space,
        prepared=prepared,
        described=space.describe(rng),
    )


def _slots(plan: Plan) -> int:
    config = plan.config
    return planned_slots(
        config.executor,
        workers=config.workers,
        threads=WORKER_THREADS,
        device=config.device,
        job_bytes=job_bytes(plan.space, config.seed),
    )


def _show_existing(config: StudyConfig) -> None:
    folder = studies_folder() / config.name
    if holds_study(folder):
        terminal.say(f"{folder} exists: the search would go on there, or move it with --fresh")


def _space_pairs(described: dict[str, Any]) -> dict[str, Any]:
    about = "" if described["exact"] else "about "
    low, high = described["params"]
    return {
        "shapes": f"{described['shapes']:,}, {about}{described['feasible_share']:.1%} feasible",
        "parameters": f"{count(low)} to {count(high)}",
    }


def _estimate(plan: Plan, rng: np.random.Generator) -> Estimate:
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
        seconds=sum(_seconds(config, pace, job.eval_tokens, one) for one in drawn) / DRAWS,
        tokens=rungs_for(config.budget, step, columns, speed)[-1],
    )


def _seconds(config: StudyConfig, pace: Pace, measured: int, columns: Mapping[str, float]) -> float:
    """Return what training and measuring a shape takes."""
    rungs = rungs_for(config.budget, config.recipe.tokens_per_step, columns, pace.flops_per_second)
    # A measurement is a forward pass, a third of a training step's work.
    read = rungs[-1] + len(rungs) * measured / 3
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


def _cost_pairs(plan: Plan, estimate: Estimate) -> dict[str, Any]:
    config, numerics, each = plan.config, estimate.numerics, estimate.seconds
    entrants = config.finalists.top + 1 if config.finalists.top else 0
    trainings = entrants * config.finalists.seeds
    finals = trainings * each / plan.slots
    return {
        "workers": f"{plan.slots} on {numerics.device}, {numerics.precision}",
        "a candidate": f"about {duration(each)} for {budget_words(config.budget, estimate.tokens)}",
        "candidates": f"about {3600 * plan.slots / each:.0f} an hour",
        "finals": f"at most {several(trainings, 'training')}, about {duration(finals)}",
        "disk": _disk_words(plan, each, finals),
        "limits": _limit_words(plan, each, finals),
    }


def _disk_words(plan: Plan, each: float, finals: float) -> str:
    """Return the most that the study takes, and what is free where it would lie."""
    folder = studies_folder() / plan.config.name
    fits = _fitting(plan, each, finals)
    need = disk_need(
        plan.config,
        plan.space,
        plan.prepared,
        plan.slots,
        on_server=database_of(folder, plan.config, None).on_server,
        candidates=fits,
    )
    free = free_bytes(folder)
    there = "" if free is None else f"; {size(free)} are free"
    if need.most is None:
        return f"{size(need.one)} a candidate in training, without a limit on all{there}"
    return f"at most {size(need.most)}, {size(need.least)} at least{there}"


def _fitting(plan: Plan, each: float, finals: float) -> int | None:
    """Return how many candidates the minutes are time for; None without such a limit."""
    minutes = plan.config.stop.minutes
    if minutes is None:
        return None
    left = max(0.0, minutes * 60 - min(finals, minutes * 30))
    return max(1, int(left * plan.slots / each))


def _limit_words(plan: Plan, each: float, finals: float) -> str:
    stop, feasible = plan.config.stop, plan.described["feasible"]
    if feasible is not None and plan.config.recipe.search_rate:
        feasible *= len(FACTORS)
    known = [limit for limit in (stop.candidates, feasible) if limit is not None]
    whole = (
        ""
        if not known
        else f"{several(min(known), 'candidate')} take {_total(min(known), plan, each, finals)}"
    )
    fits = _fitting(plan, each, finals)
    if fits is None:
        return whole or "none: the search runs until it is stopped"
    if known and fits >= min(known):
        return whole
    return f"{stop.minutes:g} min are time for about {several(fits, 'candidate')}" + (
        f"; {whole}" if whole else ""
    )


def _total(candidates: int, plan: Plan, each: float, finals: float) -> str:
    return f"about {duration(candidates * each / plan.slots + finals)}, finals included"
