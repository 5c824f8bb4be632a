"""What is measured once, when a study is begun: its arithmetic and, if it counts, its pace.

Both are stored with the study, so that whoever trains in it later uses the same ones.
"""

from __future__ import annotations

from dataclasses import replace

from nas.device import check_device_name
from nas.driver.budgets import amount_words, rungs_for
from nas.driver.events import Listener, Note
from nas.driver.opening import WORKER_THREADS, OpenedStudy, measuring_job, recipe_of, typical_shape
from nas.driver.pace import Pace
from nas.errors import NasError
from nas.executors import EVENT_SECONDS, Executor
from nas.records import Job, Numerics, Outcome, Progress

# Seconds over which a pace is taken at least; a job reports twice a second.
PROBE_SECONDS = 1.5
ENDLESS = 10**6  # steps of a training that is left before


def begun(opened: OpenedStudy, executor: Executor, listener: Listener) -> OpenedStudy:
    """Return the study with its arithmetic, chosen at its beginning or for a new kind of device.

    A budget in seconds also gets the pace of this machine, if it has none yet.

    Raises:
        NasError: If the pace cannot be measured.
    """
    job = _job(opened)
    wanted, known = job.numerics.device, opened.record.numerics
    if known is None or wanted not in ("auto", known.device):
        known = executor.probe(job)
        opened.store.set_numerics(opened.record, known)
        opened = replace(opened, record=replace(opened.record, numerics=known))
    if opened.config.budget.unit != "seconds" or opened.record.pace is not None:
        return opened
    return _paced(opened, executor, replace(job, numerics=known), listener)


def _job(opened: OpenedStudy) -> Job:
    """Return the job of a typical shape; its numerics are what the study file asks for."""
    config = opened.config
    asked = Numerics(
        device=check_device_name(config.device),
        precision=config.recipe.precision,
        attention="auto",
        threads=WORKER_THREADS,
    )
    return measuring_job(opened, typical_shape(opened.space, config.seed), asked)


def _paced(opened: OpenedStudy, executor: Executor, job: Job, listener: Listener) -> OpenedStudy:
    config, columns = opened.config, opened.space.columns(job.candidate.architecture)
    tokens, seconds = timed(executor, job)
    pace = Pace()
    flops = columns["train_flops_per_token"]
    pace.learn(tokens=tokens, flops_per_token=flops, seconds=seconds)
    found = pace.flops_per_second
    assert found is not None, "it has learned"
    rungs = rungs_for(config.budget, config.recipe.tokens_per_step, columns, found)
    opened.store.set_pace(opened.record, found, rungs)
    words = amount_words(config.budget.unit, config.budget.amount)
    listener(Note(text=f"{words} are {rungs[-1]:,} tokens of {job.candidate.architecture.id} here"))
    record = replace(opened.record, pace=found, rungs=rungs)
    return replace(opened, record=record, recipe=recipe_of(config, rungs))


def timed(executor: Executor, job: Job) -> tuple[int, float]:
    """Train a job for a moment, alone, and return tokens and seconds of steps that had warmed up.

    Args:
        executor: Where jobs run; nothing runs there now.
        job: Its rungs do not count, and nothing of it is kept.

    Raises:
        NasError: If it cannot be trained.
    """
    endless = (job.candidate.recipe.tokens_per_step * ENDLESS,)
    executor.submit(replace(job, rungs=endless, rung=0))
    first = last = None
    while True:
        for event in executor.events(EVENT_SECONDS):
            if isinstance(event, Outcome):
                return _difference(first, last, event)
            if event.is_report:
                first, last = first or event, event
        if first and last and last.seconds - first.seconds >= PROBE_SECONDS:
            executor.cancel(job.candidate.id)


def _difference(
    first: Progress | None, last: Progress | None, outcome: Outcome
) -> tuple[int, float]:
    if first is None or last is None or last.tokens <= first.tokens:
        raise NasError(
            f"{outcome.candidate_id}: could not be timed: {outcome.state}: "
            f"{outcome.error or 'no message'}"
        )
    return last.tokens - first.tokens, last.seconds - first.seconds
