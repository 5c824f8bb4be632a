"""From the plain content of a space file to checked dimensions, constants and constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from typing import Any, get_type_hints

from nas.errors import NotFoundError, nearest
from nas.families import Shape, shape_class
from nas.families.constants import searched_names
from nas.plugins import vouch
from nas.records import ShapeValue, TaskSpec
from nas.space.dimensions import DEPTH, ENDS, FREE, ONE, Dimension
from nas.space.feasible import Constraint
from nas.yaml_strict import Reader

FORMAT_VERSION = 1
LARGEST = 65_536  # of a field for which the family names no limit of its own
MOST_VALUES = 4_096  # of one dimension
MOST_FREE = 64  # layers with a number of their own: each is a parameter for the sampler


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """What a space may know about the fields of a family's shape.

    Attributes:
        defaults: The default of each field that has one.
        booleans: The fields that are true or false.
        limits: The largest value of each field.
        per_layer: The fields that may differ between layers.
    """

    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    booleans: frozenset[str]
    limits: Mapping[str, int]
    per_layer: frozenset[str]

    @classmethod
    def of(cls, kind: type[Shape]) -> Fields:
        """Read them off the family's dataclass."""
        searched = searched_names(kind)
        own = [f for f in fields(kind) if f.name in searched]  # type: ignore[arg-type]  # every Shape is a dataclass
        hints = get_type_hints(kind)
        return cls(
            names=tuple(f.name for f in own),
            defaults={f.name: f.default for f in own if f.default is not MISSING},
            booleans=frozenset(f.name for f in own if hints[f.name] is bool),
            limits=kind.limits,
            per_layer=kind.per_layer,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The checked content of a space file; the reference is still to be placed in the space."""

    family: str
    kind: type[Shape]
    fixed: dict[str, ShapeValue]
    dimensions: tuple[Dimension, ...]
    constraints: tuple[Constraint, ...]
    reference: dict[str, ShapeValue] | None
    description: str


def parse(plain: Mapping[str, Any], *, where: str, trust: bool = False) -> Parts:
    """Check the plain content of a space file.

    Args:
        plain: The content.
        where: Where it stands, for messages.
        trust: Whether a family of the user's own may be imported, which runs its code.

    Raises:
        ConfigError: If anything in it is wrong; the message starts with `where: key.path:`.
        UntrustedError: If it names a family of the user's own that nobody has vouched for.
    """
    reader = Reader(plain, where=where)
    _read_version(reader)
    kind = _read_family(reader, trust=trust)
    known = Fields.of(kind)
    fixed = _read_fixed(reader.mapping("fixed", optional=True), known)
    dimensions = _read_dimensions(reader.mapping("dimensions"), known, fixed)
    if reader.has("draw_order"):
        dimensions = _reordered(reader, dimensions)
    _check_complete(reader, known, fixed, dimensions)
    _check_free(reader, dimensions, fixed)
    constraints = _read_constraints(
        reader.mapping("constraints", optional=True), _columns(kind, known, fixed, dimensions)
    )
    reference = None
    if reader.has("reference"):
        reference = _read_reference(reader.mapping("reference"), known, fixed)
    description = reader.text("description") if reader.has("description") else ""
    reader.done()
    return Parts(
        family=reader.text("family"),
        kind=kind,
        fixed=fixed,
        dimensions=dimensions,
        constraints=constraints,
        reference=reference,
        description=description,
    )


def _read_family(reader: Reader, *, trust: bool) -> type[Shape]:
    name = reader.text("family")
    vouch(name, f"{reader.where}: family", trust=trust)
    try:
        return shape_class(name)
    except NotFoundError as error:
        reader.fail("family", str(error))


def _read_version(reader: Reader) -> None:
    got = reader.integer("format_version", minimum=1)
    if got > FORMAT_VERSION:
        reader.fail(
            "format_version",
            f"got {got}, but this nas reads up to {FORMAT_VERSION}; install a newer nas",
        )


def _read_fixed(reader: Reader, known: Fields) -> dict[str, ShapeValue]:
    _check_names(reader, known)
    return {name: _read_value(reader, name, name, known) for name in reader}


def _read_value(reader: Reader, key: str | int, field: str, known: Fields) -> int:
    """Read one allowed value of a field."""
    if field in known.booleans:
        return reader.boolean(key)
    return reader.integer(key, minimum=1, maximum=known.limits.get(field, LARGEST))


def _check_names(reader: Reader, known: Fields) -> None:
    for name in reader:
        if name not in known.names:
            fields_text = ", ".join(known.names)
            reader.fail(
                name, f"no such field; the family has {fields_text}{nearest(name, known.names)}"
            )


def _read_dimensions(
    reader: Reader, known: Fields, fixed: Mapping[str, Any]
) -> tuple[Dimension, ...]:
    _check_names(reader, known)
    for name in reader:
        if name in fixed:
            reader.fail(name, "also in fixed; keep it in one of the two")
    return tuple(_read_dimension(reader.mapping(name), name, known) for name in reader)


def _reordered(reader: Reader, dimensions: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """Sort by `draw_order`, which a store needs that does not keep the order of keys."""
    by_name = {dimension.name: dimension for dimension in dimensions}
    names = reader.sequence("draw_order")
    order = [names.text(position, choices=by_name) for position in names]
    if sorted(order) != sorted(by_name):
        reader.fail("draw_order", f"expected each of {', '.join(by_name)} once")
    return tuple(by_name[name] for name in order)


def _read_dimension(reader: Reader, name: str, known: Fields) -> Dimension:
    if reader.has("choices"):
        for key in ("min", "max", "step"):
            if reader.has(key):
                reader.fail(key, "not together with choices; write min and max, or choices")
        values, step = _read_choices(reader.sequence("choices"), name, known), None
        if not 1 <= len(values) <= MOST_VALUES:
            reader.fail("choices", f"got {len(values)} values, expected 1 to {MOST_VALUES}")
    elif name in known.booleans:
        reader.fail("choices", "missing; write {choices: [false, true]}")
    else:
        values, step = _read_range(reader, name, known)
    dimension = Dimension(
        name=name, values=values, step=step, layout=_read_layout(reader, name, known)
    )
    reader.done()
    return dimension


def _read_choices(reader: Reader, name: str, known: Fields) -> tuple[int, ...]:
    values = tuple(_read_value(reader, key, name, known) for key in reader)
    for position, (low, high) in enumerate(pairwise(values), start=1):
        if high <= low:
            reader.fail(
                position, f"got {high} after {low}, expected each larger than the one before"
            )
    return values


def _read_range(reader: Reader, name: str, known: Fields) -> tuple[tuple[int, ...], int]:
    limit = known.limits.get(name, LARGEST)
    low = reader.integer("min", minimum=1, maximum=limit)
    high = reader.integer("max", minimum=1, maximum=limit)
    step = reader.integer("step", minimum=1, default=1)
    if low > high:
        reader.fail("min", f"got {low}, above max {high}; swap them")
    if (high - low) % step:
        last = high - (high - low) % step
        reader.fail(
            "step", f"steps of {step} from {low} never land on max {high}; write max {last}"
        )
    values = tuple(range(low, high + 1, step))
    if len(values) > MOST_VALUES:
        reader.fail("step", f"{len(values)} values, at most {MOST_VALUES}; take a larger step")
    return values, step


def _read_layout(reader: Reader, name: str, known: Fields) -> str:
    given = reader.value("per_layer", default=False)
    if given is False:
        return ONE
    if given is not True and given != "free":
        reader.wrong("per_layer", given, "true, false or free")
    if name not in known.per_layer:
        allowed = ", ".join(sorted(known.per_layer)) or "none"
        reader.fail("per_layer", f"{name} is one for all layers; fields that may differ: {allowed}")
    return ENDS if given is True else FREE


def _check_free(
    reader: Reader, dimensions: tuple[Dimension, ...], fixed: Mapping[str, Any]
) -> None:
    depth = fixed.get(DEPTH, 1)
    depth = next((d.values[-1] for d in dimensions if d.name == DEPTH), depth)
    for dimension in dimensions:
        if dimension.layout == FREE and depth > MOST_FREE:
            reader.fail(
                f"dimensions.{dimension.name}.per_layer",
                f"free for {depth} layers, at most {MOST_FREE}; write per_layer: true",
            )


def _check_complete(
    reader: Reader,
    known: Fields,
    fixed: Mapping[str, Any],
    dimensions: tuple[Dimension, ...],
) -> None:
    given = {*fixed, *(dimension.name for dimension in dimensions)}
    for name in known.names:
        if name not in known.defaults and name not in given:
            reader.fail(f"dimensions.{name}", "missing; give it here or under fixed")


def _columns(
    kind: type[Shape],
    known: Fields,
    fixed: Mapping[str, Any],
    dimensions: tuple[Dimension, ...],
) -> list[str]:
    """Return the names of the family's cost columns, from the cost of any one shape."""
    lows = {dimension.name: dimension.values[0] for dimension in dimensions}
    spec = TaskSpec(task="", head="", vocab_size=1, context=1)
    return list(kind.cost({**known.defaults, **fixed, **lows}, spec, context=1, batch=1))


def _read_constraints(reader: Reader, columns: list[str]) -> tuple[Constraint, ...]:
    allowed = [f"{side}_{column}" for side in ("max", "min") for column in columns]
    for name in reader:
        if name not in allowed:
            reader.fail(
                name,
                f"unknown constraint; expected max_X or min_X with X one of "
                f"{', '.join(columns)}{nearest(name, allowed)}",
            )
    constraints = tuple(
        Constraint(column=name[4:], side=name[:3], bound=reader.number(name, minimum=0))
        for name in sorted(reader)
    )
    bounds = {constraint.name: constraint.bound for constraint in constraints}
    for column in columns:
        low, high = bounds.get(f"min_{column}", 0), bounds.get(f"max_{column}", float("inf"))
        if low > high:
            reader.fail(f"min_{column}", f"got {low:.15g}, above max_{column} {high:.15g}")
    return constraints


def _read_reference(
    reader: Reader, known: Fields, fixed: Mapping[str, ShapeValue]
) -> dict[str, ShapeValue]:
    _check_names(reader, known)
    reference: dict[str, ShapeValue] = dict(fixed)
    for name in reader:
        if name in known.per_layer and isinstance(reader.value(name), list):
            items = reader.sequence(name)
            reference[name] = tuple(_read_value(items, i, name, known) for i in items)
        else:
            reference[name] = _read_value(reader, name, name, known)
        if name in fixed and reference[name] != fixed[name]:
            reader.fail(name, f"got {reference[name]}, but the space fixes {fixed[name]}")
    for name in known.names:
        if name not in known.defaults and name not in reference:
            reader.fail(name, "missing; the reference is a full shape, so give every field")
    return reference
