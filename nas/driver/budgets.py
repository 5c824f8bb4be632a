"""A study's budget in tokens, shape by shape, whatever unit it is given in."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.config import BudgetConfig
from nas.driver.pace import FIXED_FLOPS
from nas.errors import InputError
from nas.records import Recipe
from nas.store.rows import StudyRecord


def rungs_of(record: StudyRecord, recipe: Recipe, columns: Mapping[str, float]) -> tuple[int, ...]:
    """Return the rungs of a study's candidate in tokens, whole steps; the last is its budget.

    Args:
        record: The study as stored.
        recipe: The candidate's.
        columns: The closed-form columns of its shape.

    Raises:
        InputError: If a budget in seconds has not met this study's machine yet.
    """
    budget = budget_of(record)
    if budget.unit == "tokens":
        return record.rungs
    if budget.unit == "seconds" and record.pace is None:
        raise InputError(
            f"study '{record.name}': nothing was trained in it yet; begin with: "
            f"nas search {record.name}"
        )
    return rungs_for(budget, recipe.tokens_per_step, columns, record.pace)


def rungs_for(
    budget: BudgetConfig, tokens_per_step: int, columns: Mapping[str, float], pace: float | None
) -> tuple[int, ...]:
    """Return the rungs of a shape in tokens.

    Args:
        budget: Of each candidate.
        tokens_per_step: Of the recipe.
        columns: The shape's closed-form columns.
        pace: Equivalent FLOPs a second (see `pace.Pace`), for a budget in seconds; while it is
            not known, a rung is a step.
    """
    flops = columns["train_flops_per_token"]
    per_token = {
        "tokens": 1.0,
        "flops": flops,
        "seconds": math.inf if pace is None else (flops + FIXED_FLOPS) / pace,
    }
    return budget.resolve(tokens_per_step, per_token[budget.unit])


def budget_of(record: StudyRecord) -> BudgetConfig:
    """Return the budget that a study was begun with."""
    plain = record.config["per_candidate"]
    return BudgetConfig.from_plain({"rungs": "auto", "eta": 1.0, **plain})


def amounts_of(record: StudyRecord) -> tuple[float, ...]:
    """Return the rungs in the study's own unit; of tokens, those of whole steps."""
    budget = budget_of(record)
    return record.rungs if budget.unit == "tokens" else budget.amounts


def test_tokens(record: StudyRecord) -> int | None:
    """Return how much of test finalists read where their own budgets differ, else None.

    It is the reference's budget for all, so that they are compared on the same data.
    """
    return None if budget_of(record).unit == "tokens" else record.rungs[-1]


def amount_words(unit: str, amount: float) -> str:
    """Return a budget in words: 1,024 tokens, 2e+12 FLOPs, 20 s."""
    if unit == "tokens":
        return f"{amount:,.0f} tokens"
    return f"{amount:.3g} FLOPs" if unit == "flops" else f"{amount:g} s"
