"""What the command line adds to `nas.wording`: budgets and the cells of tables."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nas.wording import amount_words as amount_words
from nas.wording import count as count
from nas.wording import duration as duration
from nas.wording import measure as measure
from nas.wording import several as several
from nas.wording import shape_words as shape_words
from nas.wording import size as size
from nas.wording import visible

if TYPE_CHECKING:
    from nas.config import BudgetConfig


def budget_words(budget: BudgetConfig, tokens: int) -> str:
    """Return what a candidate is trained on: 400k tokens, 20 s (1.2M tokens of the reference)."""
    if budget.unit == "tokens":
        return amount_words("tokens", tokens)
    return f"{amount_words(budget.unit, budget.amount)} ({count(tokens)} tokens of the reference)"


def cell(name: str, value: Any) -> str:
    """Return a table's cell; `name` is the column's."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, (tuple, list)):
        return visible(",".join(str(item) for item in value))
    if isinstance(value, float):
        return _number(name, value)
    if isinstance(value, int) and name in _COUNTS:
        return count(value)
    return visible(" ".join(str(value).split()))


_COUNTS = frozenset({"params", "non_embedding_params", "tokens", "feasible", "shapes"})


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if name.endswith("seconds"):
        return f"{value:.1f}"
    if name in _COUNTS or name.endswith(("_bytes", "_per_token")):
        return count(value)
    if name == "throughput":
        return count(value)
    if name.endswith("_ms"):
        return f"{value:.3g}"
    if "loss" in name or "bits" in name:
        return measure(value)
    return f"{value:g}"
