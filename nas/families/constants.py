"""Fields of a shape that stock models differ in and no space searches: of norms, of positions.

A family names them in its `constants`. Every searched shape has their defaults, and canonical form
leaves those out, so that ids do not depend on them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from nas.errors import ShapeError
from nas.records import ShapeValue

LARGEST = 1e12


def constants_of(kind: Any) -> frozenset[str]:
    """Return the names of a family's constants; one of the user's own need not name any."""
    found: frozenset[str] = getattr(kind, "constants", frozenset())
    return found


def searched_names(kind: Any) -> list[str]:
    """Return the names of a family's other fields: those that a space may set."""
    constants = constants_of(kind)
    return [field.name for field in dataclasses.fields(kind) if field.name not in constants]


def check_constants(shape: Any) -> None:
    """Check the constants of a shape that is being made; whole numbers become fractions.

    Raises:
        ShapeError: If a number is not above 0, or a switch neither true nor false.
    """
    for name, default in _defaults(shape.__class__):
        value = getattr(shape, name)
        if isinstance(default, bool):
            if type(value) is not bool:
                raise ShapeError(f"{shape.family}: {name}: got {value!r}, expected true or false")
        elif type(value) not in (int, float) or not 0 < value <= LARGEST:
            raise ShapeError(
                f"{shape.family}: {name}: got {value!r}, expected a number above 0, at most "
                f"{LARGEST:g}"
            )
        else:
            object.__setattr__(shape, name, float(value))


def stated_constants(shape: Any) -> dict[str, ShapeValue]:
    """Return the constants that are not at their default."""
    found = {name: getattr(shape, name) for name, _ in _defaults(shape.__class__)}
    return {
        name: found[name] for name, default in _defaults(shape.__class__) if found[name] != default
    }


@functools.cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    names = constants_of(kind)
    return tuple((one.name, one.default) for one in dataclasses.fields(kind) if one.name in names)
