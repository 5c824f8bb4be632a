"""What a search that starts warm takes over from another study, and what it refuses to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.config import StudyConfig
from nas.errors import InputError
from nas.records import Architecture
from nas.space import BoundSpace
from nas.store import ranking
from nas.strategies import Evidence
from nas.study import Study, open_study

if TYPE_CHECKING:
    from nas.driver.opening import OpenedStudy

Results = list[tuple[Architecture, float]]


def results_of_other(config: StudyConfig, space: BoundSpace) -> Results:
    """Return what the study that `warm_start` names measured of shapes of this space.

    Only complete candidates of its search count, and of these the first objective.

    Raises:
        InputError: If there is no such study, its family or first objective is another one, or
            none of its shapes is in this space.
    """
    if config.warm_start is None:
        return []
    other = open_study(config.warm_start)
    _check_compatible(config, other)
    objective = config.objectives[0]
    rows = other.trials("state == 'complete'", role="search")
    values = {row.architecture: ranking.number_of(row, objective) for row in reversed(rows)}
    known = {shape: value for shape, value in values.items() if value is not None}
    found = [(shape, value) for shape, value in known.items() if space.feasible(shape)]
    if not found:
        raise InputError(_none_fits(other, space, list(known)[::-1]))
    return found


def _check_compatible(config: StudyConfig, other: Study) -> None:
    where = f"warm_start: study '{other.name}'"
    family, objective = other.config["space"]["family"], other.objectives[0]
    if family != config.space.family:
        raise InputError(
            f"{where} is of family '{family}' and the new one of '{config.space.family}': "
            "its shapes say nothing here"
        )
    if objective != config.objectives[0]:
        raise InputError(
            f"{where} ranks by {objective} and the new one by {config.objectives[0]}; "
            f"begin with the same: --set 'objectives=[{objective}]'"
        )


def _none_fits(other: Study, space: BoundSpace, shapes: list[Architecture]) -> str:
    where = f"warm_start: study '{other.name}'"
    if not shapes:
        return f"{where} has no complete candidate to start from"
    return (
        f"{where}: none of its {len(shapes)} shapes is feasible in the new space; of the best one "
        f"{space.why_infeasible(shapes[0])}"
    )


def evidence_of(opened: OpenedStudy) -> list[Evidence]:
    """Return what a study took over when it was made, as strategies see it."""
    space = opened.proposals
    points = [(opened.point(shape, opened.recipe), value) for shape, value in opened.results]
    return [
        Evidence(
            architecture=point,
            parameters=space.space.encode(point),
            columns=space.columns(point),
            value=value,
        )
        for point, value in points
    ]
