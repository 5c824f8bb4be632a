"""`nas search --dry-run`: what a search would cost, from its space and a few timed steps.

Nothing is kept: data is prepared in a temporary folder, and no study is made.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.cli import terminal
from nas.cli.tables import show_pairs
from nas.cli.wording import budget_words, count, duration, several, size
from nas.driver.disk import disk_need, free_bytes
from nas.driver.estimate import Estimate, Plan, estimate, plan_search
from nas.places import holds_study
from nas.space.rated import FACTORS
from nas.study import studies_folder

if TYPE_CHECKING:
    from nas.config import StudyConfig


def show_estimate(config: StudyConfig) -> None:
    """Write what a search of these settings would look at and take.

    Raises:
        InputError: If anything is wrong that the search would refuse.
    """
    rng = np.random.default_rng(config.seed)
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        plan = plan_search(config, Path(folder) / "data")
        described = plan.space.describe(rng)
        _show_existing(config)
        show_pairs(_space_pairs(described))
        terminal.say("timing a few steps of one shape...")
        found = estimate(plan, rng)
        pairs = _cost_pairs(plan, described, found)
    show_pairs(pairs)


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


def _cost_pairs(plan: Plan, described: dict[str, Any], found: Estimate) -> dict[str, Any]:
    config, numerics, each = plan.config, found.numerics, found.seconds
    entrants = config.finalists.top + 1 if config.finalists.top else 0
    trainings = entrants * config.finalists.seeds
    finals = trainings * each / plan.slots
    return {
        "workers": f"{plan.slots} on {numerics.device}, {numerics.precision}",
        "a candidate": f"about {duration(each)} for {budget_words(config.budget, found.tokens)}",
        "candidates": f"about {3600 * plan.slots / each:.0f} an hour",
        "finals": f"at most {several(trainings, 'training')}, about {duration(finals)}",
        "disk": _disk_words(plan, each, finals),
        "limits": _limit_words(plan, described, each, finals),
    }


def _disk_words(plan: Plan, each: float, finals: float) -> str:
    """Return the most that the study takes, and what is free where it would lie."""
    fits = _fitting(plan, each, finals)
    need = disk_need(plan.config, plan.space, plan.prepared, plan.slots, candidates=fits)
    free = free_bytes(studies_folder())
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


def _limit_words(plan: Plan, described: dict[str, Any], each: float, finals: float) -> str:
    stop, feasible = plan.config.stop, described["feasible"]
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
