"""A shape of the user's own, trained as finalists are and compared with winner and reference."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas.config import check_code, config_from_plain
from nas.driver.bench import Bench
from nas.driver.disk import telling_disk_faults
from nas.driver.events import Listener, Note, silent
from nas.driver.opening import recipe_of
from nas.errors import InputError, ShapeError
from nas.finals import Comparison, compare
from nas.records import Architecture, Candidate, Recipe
from nas.space import BoundSpace, named_shape, space_of_study
from nas.store import ranking
from nas.store.ranking import FinalistGroup
from nas.store.rows import CandidateRow
from nas.store.store import Store
from nas.study import Study

OUTSIDE = -1  # number of a shape that the search did not try


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnResult:
    """What came of a shape.

    Attributes:
        group: Its trainings from fresh seeds.
        rivals: Winner and reference of the finals, as far as there are any, by what they are.
        comparisons: For each rival the shape minus it, by metric.
    """

    group: FinalistGroup
    rivals: Mapping[str, FinalistGroup]
    comparisons: Mapping[str, Mapping[str, Comparison]]


@telling_disk_faults
def train_own(
    study: Study, shape: Mapping[str, Any] | Architecture, listener: Listener = silent
) -> OwnResult:
    """Train a shape from as many fresh seeds as the finals, to the full budget.

    It may lie outside the space. Nothing of it enters the search: rows are in role `own`. Seeds
    that the finals have trained are not trained again. Of the others' weights the best one's stay.

    Args:
        study: The study.
        shape: Fields of its family; those that the space fixes may be left out.
        listener: Told how it goes.

    Raises:
        InputError: If it is no shape of the family or does not fit the task.
        NasError: If it could not be trained.
        KeyboardInterrupt: If the user stopped it; the same call goes on.
    """
    check_code(study.config, f"study '{study.name}'", trust=False)
    space = space_of_study(study.name, study.config, study.record.task_spec)
    architecture = _checked(space, shape)
    config = config_from_plain(study.config, where=f"study '{study.name}'", name=study.name)
    recipe, seeds = (
        recipe_of(config, study.record.rungs),
        range(config.seed + 1, config.seed + 1 + config.finalists.seeds),
    )
    with Bench(study, listener) as bench, Store.open(study.url) as store:
        rows = [
            _trained(bench, store, space, _candidate(study, architecture, recipe, seed))
            for seed in seeds
        ]
        if all(row.role != "own" for row in rows):
            listener(Note(text="the finals have trained this shape from these seeds already"))
        _keep_best(study, store, rows)
        rows = [store.row(study.record, row.candidate_id) for row in rows]
    return _result(study, rows)


def _checked(space: BoundSpace, shape: Mapping[str, Any] | Architecture) -> Architecture:
    """Return the architecture, which the task must be able to use, in the space or not."""
    wanted = named_shape(space.space, shape)
    if wanted.family != space.space.family:
        raise InputError(
            f"{space.space.where}: family: got '{wanted.family}', the study's is "
            f"'{space.space.family}'"
        )
    columns = space.columns(wanted)
    for constraint in space.constraints[len(space.space.constraints) :]:  # the task's own
        if not constraint.allows(columns[constraint.column]):
            raise InputError(
                f"{space.space.where}: {constraint.column} is {columns[constraint.column]:g}, and "
                f"the task needs {constraint.bound:g} at least"
            )
    return wanted


def _candidate(study: Study, architecture: Architecture, recipe: Recipe, seed: int) -> Candidate:
    return Candidate(
        architecture=architecture,
        recipe=recipe,
        seed=seed,
        data_fingerprint=study.record.data_fingerprint,
    )


def _trained(bench: Bench, store: Store, space: BoundSpace, candidate: Candidate) -> CandidateRow:
    """Return a seed's row: the stored one if it is complete, else of a training."""
    rows = {row.candidate_id: row for row in store.rows(bench.study.record)}
    known = rows.get(candidate.id)
    if known is not None and known.state == "complete":
        return known
    tried = [r for r in rows.values() if r.architecture_id == candidate.architecture.id]
    number = next((r.number for r in tried if r.role == "search"), OUTSIDE)
    job = replace(bench.job(candidate, test=True), keep_uncooled=True)
    try:
        parameters = space.space.encode(candidate.architecture)
    except ShapeError:
        parameters = {}
    return bench.train_new(store, job, number=number, role="own", parameters=parameters)


def _keep_best(study: Study, store: Store, rows: list[CandidateRow]) -> None:
    """Let go of weights and checkpoints of all own trainings but the best one's."""
    own = [row for row in rows if row.role == "own"]
    for row in ranking.best_first(own, study.objectives[0])[1:]:
        if row.model_path is not None:
            store.drop_model(study.record, row.candidate_id)
            shutil.rmtree(study.folder / row.model_path, ignore_errors=True)
        if row.checkpoint is not None:
            store.set_checkpoint(study.record, row.candidate_id, None)
            (study.folder / row.checkpoint.uri).unlink(missing_ok=True)


def _result(study: Study, rows: list[CandidateRow]) -> OwnResult:
    group = FinalistGroup(
        architecture_id=rows[0].architecture_id, is_reference=False, rows=tuple(rows)
    )
    winner = (study.summary() or {}).get("winner")
    rivals = {}
    for one in study.finalists():
        if one.architecture_id != group.architecture_id:
            if one.architecture_id == winner:
                rivals["winner"] = one
            if one.is_reference:
                rivals["reference"] = one
    objective = study.objectives[0]
    metrics = dict.fromkeys((objective, objective.replace("val_", "test_")))
    return OwnResult(
        group=group,
        rivals=rivals,
        comparisons={
            name: {
                metric: found
                for metric in metrics
                if (found := compare(metric, group.values(metric), rival.values(metric)))
            }
            for name, rival in rivals.items()
        },
    )
