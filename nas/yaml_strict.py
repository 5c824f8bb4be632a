"""Read YAML without its traps: the one way in for search spaces and study files.

`load_yaml` refuses what YAML would accept in silence (a key given twice, `010` as eight, aliases);
`Reader` takes the plain values out one by one and says in one line where a wrong one stands.
What the values mean is left to the parser that asks.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nas.errors import ConfigError, nearest

MAX_BYTES = 1 << 20  # a file of settings; more is a wrong file or an attack


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        ConfigError: If the file cannot be read or is not one plain YAML mapping.
    """
    where = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise ConfigError(f"{where}: is a folder, expected a YAML file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{where}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{where}: larger than 1 MiB; is it a YAML file of settings?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}: line {line}: not UTF-8 text; save it as UTF-8") from error
    return load_yaml_text(text, where)


def load_yaml_text(text: str, where: str) -> dict[str, Any]:
    """Read the mapping in a YAML text; `where` names it in errors.

    Raises:
        ConfigError: If the text is not one plain YAML mapping.
    """
    try:
        plain = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader underneath
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {_one_line(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply for a file of settings") from error
    except ValueError as error:  # a date or an integer that Python cannot hold
        raise ConfigError(f"{where}: {error}; quote it if it is text") from error
    if plain is None:
        raise ConfigError(f"{where}: the file is empty; expected `key: value` lines")
    if not isinstance(plain, dict):
        raise ConfigError(
            f"{where}: got {_named(plain)} at the top, expected a mapping (`key: value` lines)"
        )
    return plain


class Reader:
    """Takes checked values out of one mapping (or list) of a plain document.

    Call one method a key, then `done()`, which refuses the keys that nobody asked for. A method
    without `default` refuses a missing key; ask `has(key)` first where absence means something.
    All methods raise `ConfigError`, whose text begins with `where: key.path:`.
    """

    def __init__(self, plain: Mapping[Any, Any], *, where: str, path: str = "") -> None:
        self.where = where
        self.path = path
        self._plain = plain
        self._asked: dict[str | int, None] = {}  # in order of asking

    def has(self, key: str | int) -> bool:
        """Say whether the key is given."""
        self._asked[key] = None
        return key in self._plain

    def __iter__(self) -> Iterator[Any]:
        """Go through the given keys in file order; of a list, its positions."""
        return iter(self._plain)

    def value(self, key: str | int, *, expected: str = "a value", default: Any = ...) -> Any:
        """Return the plain value as it is, unchecked."""
        if self.has(key):
            return self._plain[key]
        if default is ...:
            unasked = [str(k) for k in self._plain if k not in self._asked]
            close = get_close_matches(str(key), unasked, n=1)
            self.fail(
                key, f"missing, expected {expected}" + (f"; is '{close[0]}' it?" if close else "")
            )
        return default

    def integer(
        self,
        key: str | int,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        default: int | None = None,
    ) -> int:
        """Return an integer within the bounds, which are inclusive."""
        expected = "an integer" + _range_text(minimum, maximum)
        got = self.value(key, expected=expected, default=... if default is None else default)
        if type(got) is not int or not _within(got, minimum, maximum):
            self.wrong(key, got, expected, _number_hint(got, whole=True))
        return got

    def number(
        self,
        key: str | int,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        default: float | None = None,
    ) -> float:
        """Return a finite number within the bounds, which are inclusive."""
        expected = "a number" + _range_text(minimum, maximum)
        got = self.value(key, expected=expected, default=... if default is None else default)
        number = _finite(got)
        if number is None or not _within(number, minimum, maximum):
            self.wrong(key, got, expected, _number_hint(got, whole=False))
        return number

    def text(
        self, key: str | int, *, choices: Iterable[str] | None = None, default: str | None = None
    ) -> str:
        """Return a text that is not empty; with `choices`, one of them."""
        known = None if choices is None else list(choices)
        expected = "a text" if known is None else f"one of {', '.join(known)}"
        got = self.value(key, expected=expected, default=... if default is None else default)
        if not isinstance(got, str) or not got.strip():
            self.wrong(key, got, expected, _text_hint(got))
        if "\0" in got:
            self.wrong(key, got, f"{expected} without zero bytes")
        if known is not None and got not in known:
            self.fail(key, f"got '{got}', expected {expected}{nearest(got, known)}")
        return got

    def optional_integer(self, key: str, *, minimum: int) -> int | None:
        """Return an integer of at least `minimum`; None if it is left out or null."""
        given = self.value(key, default=None)
        return None if given is None else self.integer(key, minimum=minimum)

    def optional_number(self, key: str, *, minimum: float) -> float | None:
        """Return a number of at least `minimum`; None if it is left out or null."""
        given = self.value(key, default=None)
        return None if given is None else self.number(key, minimum=minimum)

    def boolean(self, key: str | int, *, default: bool | None = None) -> bool:
        """Return true or false."""
        got = self.value(key, expected="true or false", default=... if default is None else default)
        if not isinstance(got, bool):
            self.wrong(key, got, "true or false")
        return got

    def mapping(self, key: str | int, *, optional: bool = False) -> Reader:
        """Return a reader of the mapping under the key; if `optional`, an empty one without it."""
        got = self.value(key, expected="a mapping", default={} if optional else ...)
        if not isinstance(got, Mapping):
            self.wrong(key, got, "a mapping")
        return Reader(got, where=self.where, path=self.path_of(key))

    def sequence(self, key: str | int, *, optional: bool = False) -> Reader:
        """Return a reader of the list under the key; its keys are 0, 1, ..."""
        got = self.value(key, expected="a list", default=[] if optional else ...)
        if not isinstance(got, (list, tuple)):
            self.wrong(key, got, "a list", f"write [{got}]" if isinstance(got, (str, int)) else "")
        return Reader(dict(enumerate(got)), where=self.where, path=self.path_of(key))

    def done(self) -> None:
        """Refuse the first key that was not asked for."""
        for key in self._plain:
            if key not in self._asked:
                known = [str(k) for k in self._asked]
                self.fail(
                    key, f"unknown key; known here: {', '.join(known)}{nearest(str(key), known)}"
                )

    def path_of(self, key: str | int) -> str:
        """Return the key's full path, such as `dimensions.n_head.max`."""
        if isinstance(key, int):
            return f"{self.path}[{key}]"
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str | int, got: Any, expected: str, hint: str = "") -> NoReturn:
        """Raise the error of a value that is not what was expected."""
        ending = f"; {hint}" if hint else ""
        self.fail(key, f"got {_named(got)}, expected {expected}{ending}")

    def fail(self, key: str | int, message: str) -> NoReturn:
        """Raise a `ConfigError` at the key."""
        raise ConfigError(f"{self.where}: {self.path_of(key)}: {message}")


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses doubled keys, keys that are no text, aliases and odd integers."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                "anchors and aliases are not allowed; write the value out",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # gap in the stubs
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                shown = f" '{key.value}'" if isinstance(key, yaml.ScalarNode) else ""
                _refuse(key, f"the key{shown} is not text; quote it")
            if key.value in first:
                _refuse(key, f"key '{key.value}' given twice (first on line {first[key.value]})")
            first[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)

    def construct_strict_int(self, node: yaml.ScalarNode) -> int:
        digits = node.value.lstrip("+-")
        if len(digits) > 20:  # beyond 64 bits, and beyond what Python converts
            _refuse(node, f"an integer of {len(digits)} digits; quote it if it is text")
        if ":" in digits or (digits[0] == "0" and digits.strip("0_").isdigit()):
            _refuse(node, f"YAML reads {node.value} in base 8 or 60; write it plain, or quote it")
        return super().construct_yaml_int(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_strict_int)


def _refuse(node: yaml.Node, message: str) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def _one_line(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    problem = error.problem or error.context or "not valid YAML"
    if "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}: {problem}" if mark else problem


def _within(value: float, minimum: float | None, maximum: float | None) -> bool:
    return (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _range_text(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" {minimum} to {maximum}"
    if minimum is not None:
        return f" >= {minimum}"
    return f" <= {maximum}" if maximum is not None else ""


def _finite(got: Any) -> float | None:
    """Return a plain value as a finite float, or None if it is none (text and bools are not)."""
    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return None
    try:
        number = float(got)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _number_hint(got: Any, *, whole: bool) -> str:
    """Say how to write the number that a text or float such as '1e1' was meant to be."""
    if isinstance(got, bool) or not isinstance(got, (str, float)):
        return ""
    try:
        meant = float(got)
    except ValueError:
        return ""
    if not math.isfinite(meant) or (isinstance(got, float) and not whole):
        return ""
    if meant.is_integer():
        return f"write {int(meant)}" if abs(meant) < 1e16 else ""
    if whole:
        return ""
    mantissa, _, exponent = repr(meant).partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"write {mantissa}e{int(exponent)}" if exponent else f"write {mantissa}"


def _text_hint(got: Any) -> str:
    if isinstance(got, bool):
        return "YAML reads yes, no, on and off as true and false; quote the word"
    return "" if got is None or isinstance(got, (str, Mapping, list)) else f"write '{got}'"


def _named(got: Any) -> str:
    """Return a short repr of a plain value with its type."""
    if got is None:
        return "nothing"
    if isinstance(got, bool):
        return f"{str(got).lower()} (bool)"
    try:
        shown = repr(got)
    except ValueError:  # an integer of more digits than Python prints
        shown = "a huge number"
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"{shown} ({type(got).__name__})"
