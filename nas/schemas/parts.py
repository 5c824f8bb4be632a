"""The small pieces that both schemas are put together from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

DRAFT = "http://json-schema.org/draft-07/schema#"  # the one that YAML editors know best

# A class of the user's own; the file needs --trust then.
OWN = {
    "type": "string",
    "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
    "description": "a class of your own as package.module:Name; needs --trust",
}

Plain = dict[str, Any]


def integer(
    minimum: int | None = None, maximum: int | None = None, *, default: int | None = None, text: str
) -> Plain:
    """Return the schema of a whole number."""
    return _number("integer", minimum, maximum, default, text)


def number(
    minimum: float | None = None,
    maximum: float | None = None,
    *,
    default: float | None = None,
    text: str,
) -> Plain:
    """Return the schema of a number."""
    return _number("number", minimum, maximum, default, text)


def _number(
    kind: str, minimum: float | None, maximum: float | None, default: float | None, text: str
) -> Plain:
    found = {"minimum": minimum, "maximum": maximum, "default": default}
    kept = {name: value for name, value in found.items() if value is not None}
    return {"type": kind, **kept, "description": text}


def text_value(*, text: str, default: str | None = None, pattern: str = r"\S") -> Plain:
    """Return the schema of a text that is not blank."""
    found: Plain = {"type": "string", "pattern": pattern}
    return found | ({} if default is None else {"default": default}) | {"description": text}


def one_of(values: Iterable[Any], *, text: str, default: Any = None) -> Plain:
    """Return the schema of a value that is one of some."""
    found: Plain = {"enum": list(values)}
    return found | ({} if default is None else {"default": default}) | {"description": text}


def any_of(*schemas: Plain, text: str, default: Any = None) -> Plain:
    """Return the schema of a value that one of several takes."""
    found: Plain = {"anyOf": list(schemas)}
    return found | ({} if default is None else {"default": default}) | {"description": text}


def or_null(found: Plain) -> Plain:
    """Return the schema of a value that may also be null, which is the same as leaving it out."""
    rest = {name: value for name, value in found.items() if name != "description"}
    text = f"{found['description']}; null: as if left out"
    return {"anyOf": [rest, {"type": "null"}], "description": text}


def mapping(
    properties: Mapping[str, Plain], *, text: str, required: Iterable[str] = (), **more: Any
) -> Plain:
    """Return the schema of a mapping with these keys and no others."""
    wanted = list(required)
    return {
        "type": "object",
        "description": text,
        "properties": dict(properties),
        **({"required": wanted} if wanted else {}),
        "additionalProperties": False,
        **more,
    }


def when(key: str, value: str, then: Plain) -> Plain:
    """Return what also holds where a key of the mapping has a value."""
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def not_together(names: Iterable[str]) -> Plain:
    """Return what forbids any two of some keys in one mapping."""
    listed = list(names)
    pairs = [[a, b] for place, a in enumerate(listed) for b in listed[place + 1 :]]
    return {"not": {"anyOf": [{"required": pair} for pair in pairs]}}
