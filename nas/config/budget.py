"""The section `per_candidate` of a study file: how long a candidate is trained."""

from __future__ import annotations

from nas.config.records import AUTO, UNITS, BudgetConfig, RecipeConfig
from nas.yaml_strict import Reader

LEAST = {"flops": 1, "seconds": 1e-3}  # of a budget in other units than tokens
EXAMPLES = "examples"  # another way to say tokens: each is up to a context of them
LEAST_MINUTES = 1e-3


def read_budget(reader: Reader, recipe: RecipeConfig) -> BudgetConfig:
    """Return the section `per_candidate`, checked against the recipe."""
    unit, amount = _read_amount(reader, recipe)
    budget = BudgetConfig(
        amount=amount,
        unit=unit,
        rungs=_read_rungs(reader, unit, amount),
        eta=reader.number("eta", minimum=1, default=BudgetConfig().eta),
        max_minutes=reader.optional_number("max_minutes", minimum=LEAST_MINUTES),
    )
    reader.done()
    if unit == "tokens":
        _check_steps(reader, budget, recipe)
    return budget


def _read_amount(reader: Reader, recipe: RecipeConfig) -> tuple[str, float]:
    """Return the budget's unit and how much of it."""
    given = [name for name in (UNITS[0], EXAMPLES, *UNITS[1:]) if reader.has(name)]
    if len(given) > 1:
        reader.fail(given[1], f"not together with {given[0]}; a budget is in one of them")
    unit = given[0] if given else "tokens"
    if unit == EXAMPLES:
        return "tokens", reader.integer(EXAMPLES, minimum=1) * recipe.context
    if unit == "tokens":
        return unit, reader.integer("tokens", minimum=1, default=int(BudgetConfig().amount))
    return unit, reader.number(unit, minimum=LEAST[unit])


def _read_rungs(reader: Reader, unit: str, amount: float) -> tuple[float, ...] | None:
    given = reader.value("rungs", default=AUTO)
    if given == AUTO:
        return None
    if not isinstance(given, (list, tuple)):
        reader.wrong("rungs", given, f"auto or a list of {unit}")
    section = reader.sequence("rungs")
    rungs: tuple[float, ...] = tuple(
        section.integer(key, minimum=1)
        if unit == "tokens"
        else section.number(key, minimum=LEAST[unit])
        for key in section
    )
    if sorted(set(rungs)) != list(rungs) or rungs[-1:] != (amount,):
        reader.fail("rungs", f"got {list(rungs)}, expected ascending {unit} that end at {amount}")
    return rungs


def _check_steps(reader: Reader, budget: BudgetConfig, recipe: RecipeConfig) -> None:
    step = recipe.tokens_per_step
    if budget.amount < step:
        reader.fail(
            "tokens",
            f"got {budget.amount}, less than one step (context {recipe.context} x batch "
            f"{recipe.batch} = {step} tokens); raise it or lower recipe.batch",
        )
    if budget.rungs is not None and len(budget.resolve(step)) < len(budget.rungs):
        reader.fail("rungs", f"got rungs less than one step of {step} tokens apart; leave some out")
