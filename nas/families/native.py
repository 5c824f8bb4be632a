"""Stock `config.json` files: the table of known model types, and a reader that refuses by name.

Each family's `shape.py` has the inverse of its `native_config` as `NATIVE`. What the stock class
computes and the family's module does not is refused; dropout and generation defaults, which no
logits depend on, are not looked at, nor are keys that the stock class does not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nas.errors import ArtifactError
from nas.plugins import import_row
from nas.records import TaskSpec

MODEL_TYPES: dict[str, str] = {
    "llama": "nas.families.llama.shape:NATIVE",
    "mistral": "nas.families.llama.shape:NATIVE",
    "gpt2": "nas.families.gpt2.shape:NATIVE",
    "bert": "nas.families.bert.shape:NATIVE",
    "modernbert": "nas.families.modernbert.shape:NATIVE",
    "vit": "nas.families.vit.shape:NATIVE",
    "blenderbot": "nas.families.blenderbot.shape:NATIVE",
}

MAX_LABELS = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Native:
    """How the stock folders of a family are read.

    Attributes:
        read: From the configuration to shape and task spec.
        classes: Stock classes whose folders are complete.
        headless: Stock classes whose folders lack the classification head.
        prefix: Of weights, where a folder of the base model has none.
        head: How names of the classification head's weights begin.
        other_heads: The same of weights that only other heads have, without or after the prefix.
        buffers: Regular expression of stored names that are no weights: masks, position ids.
        renamed: Older parts of names, and today's.
        tied: Names of stored copies of another weight, and that one's.
    """

    read: Callable[[NativeConfig], tuple[Any, TaskSpec]]
    classes: tuple[str, ...]
    prefix: str
    headless: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    other_heads: tuple[str, ...] = ()
    buffers: str = r"(?!)"
    renamed: tuple[tuple[str, str], ...] = ()
    tied: tuple[tuple[str, str], ...] = ()


def native_of(config: NativeConfig) -> Native:
    """Return how folders of a configuration's model type are read.

    Raises:
        ArtifactError: If the type is unknown, or it is of quantized weights, of code of its own or
            of another head.
    """
    kind = config.value("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        config.refuse("model_type", f"expected one of {', '.join(MODEL_TYPES)}")
    for name, what in (
        ("quantization_config", "quantized weights; save the model in float32 or bfloat16"),
        ("auto_map", "code of its own, which is never run; remove it if the model needs none"),
        ("adapters", "adapters; merge them into the weights"),
    ):
        if config.value(name):
            config.refuse(name, f"it means {what}")
    native: Native = import_row(MODEL_TYPES[kind])
    known = (*native.classes, *native.headless)
    classes = config.value("architectures") or []
    if not isinstance(classes, list) or any(name not in known for name in classes):
        config.refuse("architectures", f"expected a list of {' or '.join(known)}")
    return native


class NativeConfig:
    """The content of a `config.json`, read key by key.

    Args:
        plain: The content.
        where: The file, for errors.
        labels: Names of classes that replace the file's.
    """

    def __init__(
        self, plain: Mapping[str, Any], *, where: str, labels: tuple[str, ...] | None = None
    ) -> None:
        self._plain, self._where, self._labels = plain, where, labels

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the error that names a key, what it says and what would be read."""
        got = repr(self._plain[name]) if name in self._plain else "nothing"
        got = got if len(got) <= 80 else f"{got[:77]}..."
        raise ArtifactError(f"{self._where}: {name}: got {got}; {expected}")

    def value(self, name: str, default: Any = None) -> Any:
        """Return what stands under a key, unchecked."""
        return self._plain.get(name, default)

    def integer(self, name: str, default: int | None = None, *, maximum: int = 1 << 62) -> int:
        """Return a whole number above 0; `default` where there is none or null."""
        value = self.value(name)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value <= maximum:
            most = f" to {maximum}" if maximum < 1 << 62 else " or more"
            self.refuse(name, f"expected an integer 1{most}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number above 0."""
        value = self.value(name, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            self.refuse(name, "expected a number above 0")
        return float(value)

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.value(name, default)
        if type(value) is not bool:
            self.refuse(name, "expected true or false")
        return value

    def must(self, name: str, *allowed: Any, default: Any) -> None:
        """Refuse a setting that the family's module does not compute.

        Args:
            name: The key.
            allowed: What it computes.
            default: What the stock class takes a missing key for.
        """
        value = self.value(name, default)
        if not any(type(value) is type(one) and value == one for one in allowed):
            words = " or ".join("null" if one is None else repr(one) for one in allowed)
            self.refuse(name, f"nas computes this model with {words} only")

    def token(self, name: str, vocab_size: int, default: int | None = None) -> int | None:
        """Return a token id; None where there is none, which older files write as -1."""
        value = self.value(name, default)
        if value is None or value == -1:
            return None
        if type(value) is not int or not 0 <= value < vocab_size:
            self.refuse(name, f"expected one id, 0 to {vocab_size - 1}, or null")
        return value

    def labels(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the logits."""
        self.must("problem_type", None, "single_label_classification", default=None)
        if self._labels is not None:
            return self._labels
        names = self.value("id2label")
        count = self.value("num_labels")
        if names is None:
            count = self.integer("num_labels", 2, maximum=MAX_LABELS)
            names = {str(number): f"LABEL_{number}" for number in range(count)}
        if not isinstance(names, Mapping) or set(names) != {str(n) for n in range(len(names))}:
            self.refuse("id2label", "expected a name for each class 0, 1, ...")
        if count is not None and count != len(names):
            self.refuse("num_labels", f"id2label has {len(names)} names")
        if len(names) < 2:
            self.refuse("id2label", "one class is a regression, which nas does not compute")
        if not all(isinstance(name, str) for name in names.values()):
            self.refuse("id2label", "expected text for each class")
        return tuple(names[str(number)] for number in range(len(names)))

    def rope_theta(self, old: str, default: float, layers: str | None = None) -> float:
        """Return the base of rotary positions.

        Args:
            old: The key before transformers 5, which wrote `rope_parameters` instead.
            default: What the stock class takes where there is neither.
            layers: The entry of `rope_parameters`, where there is one a kind of layers.
        """
        found = self.value("rope_parameters") or {}
        if layers is not None and isinstance(found, Mapping):
            found = found.get(layers, {})
        scaling = self.value("rope_scaling") or {}
        for name, part in (("rope_parameters", found), ("rope_scaling", scaling)):
            if not isinstance(part, Mapping):
                self.refuse(name, "expected a mapping")
            if part.get("rope_type", part.get("type", "default")) != "default":
                self.refuse(name, "nas computes rotary positions without scaling only")
            if part.get("partial_rotary_factor", 1) != 1:
                self.refuse(name, "nas turns whole heads only (partial_rotary_factor 1)")
        if self.value("partial_rotary_factor", 1) != 1:
            self.refuse("partial_rotary_factor", "nas turns whole heads only")
        stated = {float(theta) for theta in self._thetas(old, found, scaling)}
        if len(stated) > 1:
            self.refuse("rope_parameters", f"it says another base of rotary positions than {old}")
        return stated.pop() if stated else default

    def _thetas(self, old: str, *parts: Mapping[str, Any]) -> list[float]:
        given = [part["rope_theta"] for part in parts if part.get("rope_theta") is not None]
        for theta in given:
            if type(theta) not in (int, float) or not 0 < theta < math.inf:
                self.refuse("rope_parameters", "expected a rope_theta above 0")
        return given if self.value(old) is None else [*given, self.number(old, 1.0)]
