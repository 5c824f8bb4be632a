"""Numbers, shapes and times in few characters, for people; files and JSON keep them exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nas.cli.terminal import visible

if TYPE_CHECKING:
    from nas.config import BudgetConfig

# What a field is called where there is little room, before or after its number.
_BEFORE = {"d_model": "d", "n_head": "h", "n_kv_head": "kv", "head_dim": "hd", "d_ff": "ff"}
_AFTER = {"n_layer": "L"}
_ORDER = (*_AFTER, *_BEFORE)


def shape_words(shape: Mapping[str, Any]) -> str:
    """Return a shape in short, such as `4L d96 h6 ff128..256`."""
    names = sorted(shape, key=lambda name: (_ORDER.index(name) if name in _ORDER else 99, name))
    return " ".join(_field(name, shape[name]) for name in names)


def _field(name: str, value: Any) -> str:
    if value is True or value is False:
        return name if value else f"not-{name}"
    number = _layers(value) if isinstance(value, (tuple, list)) else f"{value}"
    if name in _AFTER:
        return f"{number}{_AFTER[name]}"
    return visible(f"{_BEFORE.get(name, f'{name}=')}{number}")


def _layers(values: Sequence[int]) -> str:
    """Return the first and the last of numbers that go one way, and all of others."""
    up = sorted(values)
    if list(values) in (up, up[::-1]):
        return f"{values[0]}..{values[-1]}"
    return ",".join(str(value) for value in values)


def count(number: float) -> str:
    """Return a count with three digits at most: 950, 9.5k, 120k, 1.2M, 3.4G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * limit:
            scaled = number / limit
            digits = 0 if abs(scaled) >= 99.95 else 1
            return f"{scaled:.{digits}f}".removesuffix(".0") + unit
    return f"{number:.0f}"


def budget_words(budget: BudgetConfig, tokens: int) -> str:
    """Return what a candidate is trained on: 400k tokens, 20 s (1.2M tokens of the reference)."""
    if budget.unit == "tokens":
        return amount_words("tokens", tokens)
    return f"{amount_words(budget.unit, budget.amount)} ({count(tokens)} tokens of the reference)"


def amount_words(unit: str, amount: float) -> str:
    """Return an amount of a budget: 400k tokens, 2e+12 FLOPs, 20 s."""
    if unit == "tokens":
        return f"{count(amount)} tokens"
    return f"{amount:.3g} FLOPs" if unit == "flops" else duration(amount)


def several(number: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 2 rows."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(number: float) -> str:
    """Return a size in bytes: 512 B, 1.5 MB."""
    text = count(number)
    return f"{text} B" if text[-1].isdigit() else f"{text[:-1]} {text[-1]}B"


def duration(seconds: float) -> str:
    """Return a time span: 4.2 s, 35 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def measure(value: float) -> str:
    """Return a metric with four decimals, or in short where that says nothing."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.4f}"


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
