"""Open what a search works on: study file, folder, database, data and space, all checked.

A new study is stored only once everything that can be wrong has been looked at; an existing one
is held to what it was begun with.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from nas.config import StudyConfig, identity_diff
from nas.data import PreparedData, source_changed
from nas.device import resolve_device
from nas.driver.budgets import rungs_for
from nas.driver.claim import Claim, claim
from nas.driver.databases import Aside, Database, database_of, existing, note_address, opened
from nas.driver.warm import Results, results_of_other
from nas.errors import ConfigError, DataError, DeviceError, InputError
from nas.plugins import is_cluster
from nas.records import Architecture, Candidate, Job, LatencySpec, Numerics, Recipe, TaskSpec
from nas.space import BoundSpace, RatedSpace
from nas.store.address import has_address
from nas.store.rows import StudyRecord
from nas.store.store import Store
from nas.study import studies_folder
from nas.tasks import Task, task_class
from nas.training.schedule import auto_rate
from nas.wording import several

# A measurement reads at least this many tokens of a split, or a tenth of the training budget.
MIN_EVAL_TOKENS = 65_536
# CPU threads of a worker. One process a core with one thread each is the fastest way to train many
# small models, and with several threads a product's sums depend on the load of the machine.
WORKER_THREADS = 1


@dataclass(frozen=True, kw_only=True)
class OpenedStudy:
    """All that a search works on.

    Attributes:
        config: The checked study file.
        folder: The study's folder, absolute.
        store: Its database, open.
        record: The study as stored.
        prepared: Its data.
        spec: What a model must fit.
        space: Its space under its constraints.
        recipe: How candidates are trained.
        results: What another study measured, where this one starts warm.
        claim: The right to write the study, until it is closed.
    """

    config: StudyConfig
    folder: Path
    store: Store
    record: StudyRecord
    prepared: PreparedData
    spec: TaskSpec
    space: BoundSpace
    recipe: Recipe
    results: tuple[tuple[Architecture, float], ...]
    claim: Claim

    @cached_property
    def proposals(self) -> BoundSpace:
        """What strategies choose from: the space, with the rate where that is searched."""
        if self.config.recipe.search_rate:
            return RatedSpace(self.space, self.recipe.rate)
        return self.space

    def point(self, architecture: Architecture, recipe: Recipe) -> Architecture:
        """Return what strategies take a shape under a recipe for."""
        space = self.proposals
        return (
            space.point(architecture, recipe.rate)
            if isinstance(space, RatedSpace)
            else architecture
        )

    def split(self, point: Architecture) -> tuple[Architecture, Recipe]:
        """Return shape and recipe of what a strategy proposed."""
        if not isinstance(self.proposals, RatedSpace):
            return point, self.recipe
        architecture, rate = self.proposals.split(point)
        return architecture, replace(self.recipe, rate=rate)

    def has_enqueued(self) -> bool:
        """Say whether the user asked for a shape that was not tried yet."""
        asked = {one.id for one in self.store.enqueued(self.record)}
        rows = self.store.rows(self.record) if asked else []
        return not asked <= {row.architecture_id for row in rows if row.role == "search"}

    def close(self) -> None:
        """Let go of the database and of the study."""
        self.store.close()
        self.claim.close()


def open_for_search(
    config: StudyConfig, *, fresh: bool = False, database: str | None = None
) -> OpenedStudy:
    """Open the study of a config, or make it.

    Args:
        config: The study file.
        fresh: Move an existing study of the name aside and begin anew.
        database: The URL of the server that it is or will be on, with its secrets.

    Raises:
        NasError: If anything is wrong; nothing that exists is changed then.
    """
    folder = (studies_folder() / config.name).absolute()
    aside = _move_aside(folder, database) if fresh and folder.exists() else None
    is_new = not folder.exists()
    try:
        place = database_of(folder, config, database)
        return _claim_and_open(folder, config, place)
    except BaseException:
        # Nothing was searched: a mistake leaves no empty study behind, unless a server has it.
        if is_new and not has_address(folder):
            shutil.rmtree(folder, ignore_errors=True)
        if aside is not None:
            aside.put_back()
        raise


def _claim_and_open(folder: Path, config: StudyConfig, place: Database) -> OpenedStudy:
    with ExitStack() as stack:
        claimed = stack.enter_context(_make_folder(folder))
        store = None
        if place.known or place.on_server:  # first of all: others may work on it
            store = stack.enter_context(opened(place, config.name, folder))
        found = _open(folder, config, place, store, claimed)
        stack.pop_all()
        return found


def _open(
    folder: Path, config: StudyConfig, place: Database, store: Store | None, claimed: Claim
) -> OpenedStudy:
    record = None if store is None else existing(store, config.name, folder, place)
    if store is not None and record is not None:
        _check_identity(record, config)
        store.sign(record)
    _check_device(config, record)
    prepared = _prepare(folder, config, record)
    spec = spec_of(config, prepared)
    space = config.space.bind(spec, context=config.recipe.context, batch=config.recipe.batch)
    results = results_of_other(config, space) if record is None else []
    rungs = first_rungs(config, space) if record is None else record.rungs
    store = store or opened(place, config.name, folder)
    note_address(folder, place, config.name)
    record = _stored(store, config, prepared, spec, rungs, results)
    return OpenedStudy(
        config=config,
        folder=folder,
        store=store,
        record=record,
        prepared=prepared,
        spec=spec,
        space=space,
        recipe=recipe_of(config, record.rungs),
        results=tuple(store.evidence(record)),
        claim=claimed,
    )


def eval_tokens(rungs: Sequence[int]) -> int:
    """Return how many tokens of a split a measurement reads at most."""
    return max(MIN_EVAL_TOKENS, rungs[-1] // 10)


def typical_shape(space: BoundSpace, seed: int) -> Architecture:
    """Return the shape that stands for all where one has to: the reference, else a draw."""
    return space.space.reference or space.sample(np.random.default_rng(seed))


def first_rungs(config: StudyConfig, space: BoundSpace) -> tuple[int, ...]:
    """Return the rungs of a new study in tokens, of its typical shape.

    Raises:
        ConfigError: If a budget in FLOPs is less than a step for each rung.
    """
    budget, step = config.budget, config.recipe.tokens_per_step
    columns = space.columns(typical_shape(space, config.seed))
    steps = len(budget.amounts)
    least = steps * step * columns["train_flops_per_token"]
    if budget.unit == "flops" and budget.amount < least:
        raise ConfigError(
            f"study '{config.name}': per_candidate.flops: got {budget.amount:g}, less than "
            f"{several(steps, 'step')} of a typical shape, one for each rung; give "
            f"{1.05 * least:.2g} or more"  # at least so much when it is rounded
        )
    return rungs_for(budget, step, columns, pace=None)


def recipe_of(config: StudyConfig, rungs: Sequence[int]) -> Recipe:
    """Return the recipe of a study's candidates, with everything open decided.

    Args:
        config: The study file.
        rungs: The study's, in tokens: where shapes differ, the reference's.
    """
    recipe, head, budget = config.recipe, task_class(config.task.name).head, config.budget
    rate = auto_rate(head, context=recipe.context, batch=recipe.batch)
    return recipe.resolve(rate, int(budget.amount) if budget.unit == "tokens" else rungs[-1])


def spec_of(config: StudyConfig, prepared: PreparedData) -> TaskSpec:
    """Return what a model must fit; a task of the user's own goes by its import string."""
    return replace(prepared.spec, task=config.task.name)


def _move_aside(folder: Path, database: str | None) -> Aside:
    """Rename a study to the first free `NAME.N`.

    Raises:
        InputError: If a search is at work in it, or it cannot be renamed.
    """
    try:
        return Aside(folder, database)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _task_for(config: StudyConfig) -> type[Task]:
    """Return the task's class, if the space's family carries its head."""
    from nas.families import shape_class

    task, family = task_class(config.task.name), shape_class(config.space.family)
    if task.head not in family.heads:
        raise ConfigError(
            f"study '{config.name}': family '{family.family}' does not serve task "
            f"'{task.name}': it has no {task.head} head"
        )
    return task


def _make_folder(folder: Path) -> Claim:
    """Make a study's folder, or see that it can be written, and claim it."""
    try:
        for name in ("models", "checkpoints"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return claim(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder}: cannot write the study here: {error.strerror}; "
        "choose another place with NAS_STUDIES"
    )


def _check_identity(record: StudyRecord, config: StudyConfig) -> None:
    changes = identity_diff(record.identity, config.identity())
    if changes:
        raise InputError(
            f"study '{config.name}' exists with another setting: {'; '.join(changes)}; "
            "give the new one another --name, or move the old one aside with --fresh"
        )


def _check_device(config: StudyConfig, record: StudyRecord | None) -> None:
    """Refuse a device that is not here, before it is stored and before candidates fail on it."""
    if config.executor == "ray" or is_cluster(config.executor):
        return  # the cluster's devices count, and its executor asks for them
    begun_on = record.numerics.device if record is not None and record.numerics else "cpu"
    device = begun_on if config.device == "auto" else config.device
    if config.latency is not None and config.latency.device != "cpu":
        resolve_device(config.latency.device)
    if device == "cpu":
        return  # asking torch would take seconds
    try:
        resolve_device(device)
    except DeviceError as error:
        if config.device != "auto":
            raise
        raise DeviceError(
            f"study '{config.name}' was begun on {device}: {error}; go on with --device cpu"
        ) from error


def _prepare(folder: Path, config: StudyConfig, record: StudyRecord | None) -> PreparedData:
    if record is None:
        return _task_for(config).prepare(config.request, folder / "data")
    prepared = PreparedData.open(folder / "data")
    if prepared.info.fingerprint != record.data_fingerprint:
        raise DataError(
            f"{folder / 'data'}: is not the data that study '{config.name}' began with; "
            "put it back, or begin anew with --fresh"
        )
    request = config.request
    if source_changed(prepared, request.sources):
        raise InputError(
            f"study '{config.name}': {request.name} has changed since the study began; "
            "give the new search another --name, or move the old one aside with --fresh"
        )
    return prepared


def _stored(
    store: Store,
    config: StudyConfig,
    prepared: PreparedData,
    spec: TaskSpec,
    rungs: Sequence[int],
    results: Results,
) -> StudyRecord:
    if config.name in store.studies():
        record = store.study(config.name)
        store.update_config(record, config.to_plain())
        return record
    return store.create_study(
        config.name,
        config=config.to_plain(),
        identity=config.identity(),
        rungs=rungs,
        objectives=config.objectives,
        data_fingerprint=prepared.info.fingerprint,
        task_spec=spec,
        versions=versions(),
        evidence=results,
    )


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
    }
    for name in ("transformer-nas", "torch", "optuna", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def measuring_job(
    opened: OpenedStudy,
    architecture: Architecture,
    numerics: Numerics,
    latency: LatencySpec | None = None,
) -> Job:
    """Return a job of a shape that is measured and not stored: no checkpoint, no model.

    Args:
        opened: The study.
        architecture: The shape.
        numerics: How it is run.
        latency: What is timed, if latency is.
    """
    record = opened.record
    return Job(
        study=record.name,
        candidate=Candidate(
            architecture=architecture,
            recipe=opened.recipe,
            seed=opened.config.seed,
            data_fingerprint=record.data_fingerprint,
        ),
        task_spec=opened.spec,
        data=str(opened.prepared.folder),
        rungs=record.rungs,
        rung=0,
        numerics=numerics,
        eval_tokens=eval_tokens(record.rungs),
        latency=latency,
    )
