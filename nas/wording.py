"""Numbers, shapes, times and comparisons in few characters, for people: terminal and report."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

# What moves the cursor, rings, switches or reorders: ASCII's and ISO 8859's control characters but
# newline and tab, the marks that turn the direction of text, and line separators.
CONTROLS = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
_CONTROL = re.compile(f"[{CONTROLS}]")

# What a field is called where there is little room, before or after its number.
_BEFORE = {"d_model": "d", "n_head": "h", "n_kv_head": "kv", "head_dim": "hd", "d_ff": "ff"}
_AFTER = {"n_layer": "L"}
_ORDER = (*_AFTER, *_BEFORE)

# An input of each task, in Python and in the shell.
_INPUTS = {
    "text_classification": ('"a text"', '"a text"'),
    "sequence_to_sequence": ('"a text"', '"a text"'),
    "image_classification": ('"picture.png"', "picture.png"),
    "sequential_recommendation": ('["one item", "another"]', '"one item, another"'),
}


def visible(text: str) -> str:
    """Return a text with its control characters written out as escapes, harmless and to be seen.

    What stands in data, files and databases may otherwise clear the screen, write over lines or
    turn their order around.
    """
    return _CONTROL.sub(written_out, text)


def written_out(found: re.Match[str]) -> str:
    """Return what a match of control characters is shown as."""
    return found[0].encode("unicode_escape").decode()


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
    """Return a count with three digits at most: 950, 9.5k, 120k, 1.2M, 3.4G, 5.6T."""
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * limit:
            scaled = number / limit
            digits = 0 if abs(scaled) >= 99.95 else 1
            return f"{scaled:.{digits}f}".removesuffix(".0") + unit
    return f"{number:.0f}"


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


def comparison_words(found: Mapping[str, Any]) -> str:
    """Return a comparison in words; what seeds cannot tell apart is called a tie."""
    difference = f"{found['difference']:+.4f}"
    if found["interval"] is None:
        return f"{difference}, a tie: one seed says nothing of the spread"
    low, high = found["interval"]
    verdict = "a tie" if found["tie"] else "beyond the spread of seeds"
    return f"{difference} (95 % interval {low:+.4f} to {high:+.4f}), {verdict}"


def usage(task: str, name: str) -> tuple[str, str]:
    """Return a line that asks a model for something, in Python and in the shell.

    The shell's is empty for a task of the user's own, whose inputs are not known.
    """
    word = shlex.quote(name)
    if task == "language_modeling":
        asked = 'print(model.generate("The ", max_new_tokens=200))'
        return asked, f'nas generate {word} --prompt "The "'
    if task not in _INPUTS:
        return "help(model.predict)", ""
    in_python, in_shell = _INPUTS[task]
    return f"print(model.predict({in_python}))", f"nas predict {word} {in_shell}"


def front_words(front: Mapping[str, Any]) -> str:
    """Return a front's hypervolume in words, and from which point it is measured."""
    point = ", ".join(f"{name} {value:.4g}" for name, value in front["reference_point"].items())
    return f"hypervolume {front['hypervolume']:.4g} from {point}"
