"""The search space: a family, what is fixed, what may be chosen, and under which constraints.

`encode` and `decode` are a bijection between the space's shapes and the parameters of samplers.
Which of the shapes are feasible depends on the task and is asked of `space.bind(...)`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nas.errors import ConfigError, NotFoundError, ShapeError, nearest
from nas.families import Shape, architecture, shape_class, shape_of
from nas.records import Architecture, ShapeValue, TaskSpec, to_plain
from nas.shipped import shipped_folder, shipped_names
from nas.space.bound import BoundSpace
from nas.space.dimensions import DEPTH, ENDS, FREE, ONE, WIDTH, Dimension, Layout, Parameter
from nas.space.feasible import Chosen, Constraint
from nas.space.parse import FORMAT_VERSION, Fields, Parts, parse
from nas.yaml_strict import load_yaml

FOLDER = "search_spaces"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """A checked search space.

    Attributes:
        family: The family's name.
        fixed: Fields that are the same in every shape.
        dimensions: Fields that may be chosen, in the order of the file.
        constraints: Bounds on cost columns, sorted by name.
        reference: The shape to beat, or None.
        name: For messages and tables; no part of the space's identity, nor are the next two.
        where: The file or study it came from, for errors.
        description: One line for `nas spaces`.
        layout: Its slots, in the order in which they are drawn.
        parameters: Every integer that a sampler chooses, in the order of start-up draws.
    """

    family: str
    fixed: Mapping[str, ShapeValue]
    dimensions: tuple[Dimension, ...]
    constraints: tuple[Constraint, ...]
    reference: Architecture | None
    name: str = field(default="", compare=False)
    where: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    layout: Layout = field(init=False, compare=False, repr=False)
    parameters: tuple[Parameter, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", self._make_layout())
        object.__setattr__(self, "parameters", self._make_parameters())

    @classmethod
    def from_plain(
        cls, plain: Mapping[str, Any], *, where: str, name: str = "", trust: bool = False
    ) -> Self:
        """Check plain content, as of a YAML file or of `to_plain`.

        Args:
            plain: The content.
            where: Where it stands, for messages.
            name: What the space is called.
            trust: Whether a family of the user's own may be imported, which runs its code.

        Raises:
            ConfigError: If anything in it is wrong; the message starts with `where: key.path:`.
            UntrustedError: If it names a family of the user's own that nobody has vouched for.
        """
        parts = parse(plain, where=where, trust=trust)
        space = cls(
            family=parts.family,
            fixed=parts.fixed,
            dimensions=parts.dimensions,
            constraints=parts.constraints,
            reference=_reference(parts, where),
            name=name,
            where=where,
            description=parts.description,
        )
        if space.reference is not None:
            try:
                space.encode(space.reference)
            except ShapeError as error:
                raise ConfigError(f"{where}: reference: {error}") from error
        return space

    def to_plain(self) -> dict[str, Any]:
        """Return what identifies the space; `from_plain` rebuilds an equal one from it."""
        plain: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "family": self.family,
            "fixed": dict(sorted(self.fixed.items())),
            "dimensions": {d.name: d.to_plain() for d in self.dimensions},
            "draw_order": [d.name for d in self.dimensions],
            "constraints": {c.name: c.bound for c in self.constraints},
        }
        if self.reference is not None:
            plain["reference"] = to_plain(self.reference.shape)
        return plain

    def _make_parameters(self) -> tuple[Parameter, ...]:
        deepest = self.layout.depths[-1]
        depth = [p for d in self.dimensions if d.name == DEPTH for p in d.parameters(deepest)]
        return (*depth, *(p for d in self.layout.dimensions for p in d.parameters(deepest)))

    def encode(self, architecture: Architecture) -> dict[str, int]:
        """Return the parameters of a shape of the space; slots that it does not use are lowest.

        Raises:
            ShapeError: If the shape is outside; the message names the field.
        """
        if architecture.family != self.family:
            raise ShapeError(f"family: got '{architecture.family}', the space is '{self.family}'")
        shape = shape_of(architecture)
        depth = getattr(shape, DEPTH)
        if depth not in self.layout.depths:
            raise ShapeError(f"{DEPTH}: {depth} is not one of {_few(self.layout.depths)}")
        chosen = tuple(
            index
            for dimension in self.layout.dimensions
            for index in _indexes(dimension, architecture, shape, depth)
        )
        if self.shape(depth, chosen) != architecture:
            raise ShapeError(self._difference(architecture, self.shape(depth, chosen)))
        return self._parameters(depth, chosen)

    def decode(self, params: Mapping[str, int]) -> Architecture:
        """Return the shape that parameters stand for; extra names are ignored.

        Raises:
            ShapeError: If a parameter is missing or out of range, or the family refuses the shape.
        """
        depth, targets = self.locate(params)
        return self.shape(depth, targets[depth])

    def shape(self, depth: int, chosen: Sequence[int]) -> Architecture:
        """Return the shape of a number of layers and an index for each slot in use."""
        fields = self.layout.fields(depth, chosen)
        return architecture(self.family, **{name: _scalar(v) for name, v in fields.items()})

    def locate(self, params: Mapping[str, int]) -> tuple[int, dict[int, Chosen]]:
        """Return the number of layers and, for every depth, the index that each slot has.

        Raises:
            ShapeError: If a parameter is missing or out of range.
        """
        indexes = {p.name: _index(p, params) for p in self.parameters}
        depth = self.layout.depths[0]
        for dimension in self.dimensions:
            if dimension.name == DEPTH:
                depth = dimension.values[indexes[dimension.parameters(1)[0].name]]
        names = {d: self.layout.names(d) for d in self.layout.depths}
        return depth, {d: tuple(indexes[name] for name in names[d]) for d in names}

    def bind(self, spec: TaskSpec, *, context: int, batch: int) -> BoundSpace:
        """Return the space under its constraints for a task, a context and a batch.

        Raises:
            ConfigError: If no shape is feasible, or the reference is not.
        """
        return BoundSpace(self, spec, context=context, batch=batch)

    def _make_layout(self) -> Layout:
        known = Fields.of(shape_class(self.family))
        by_name = {dimension.name: dimension for dimension in self.dimensions}
        depth = by_name.pop(DEPTH, None)
        order = sorted(by_name.values(), key=lambda dimension: dimension.name != WIDTH)
        constants = {
            name: value
            for name, value in {**known.defaults, **self.fixed}.items()
            if name not in by_name
        }
        depths = depth.values if depth else (int(self.fixed[DEPTH]),)  # type: ignore[arg-type]  # checked by parse
        return Layout(constants=constants, depths=depths, dimensions=tuple(order))

    def _parameters(self, depth: int, chosen: Chosen) -> dict[str, int]:
        used = dict(zip(self.layout.names(depth), chosen, strict=True))
        for dimension in self.dimensions:
            if dimension.name == DEPTH:
                used[dimension.parameters(1)[0].name] = dimension.values.index(depth)
        return {p.name: p.low + p.step * used.get(p.name, 0) for p in self.parameters}

    def _difference(self, wanted: Architecture, closest: Architecture) -> str:
        """Say in which field a shape differs from the closest one of the space."""
        for name in sorted({*wanted.shape, *closest.shape}):
            got, has = (dict(a.shape).get(name, "its default") for a in (wanted, closest))
            if got != has:
                return f"{name}: {got} is outside the space; the closest there is {has}"
        raise AssertionError("two shapes that differ in no field")


def load_space(path_or_name: str | Path, *, trust: bool = False) -> SearchSpace:
    """Load a space: an existing file, else `./search_spaces/NAME.yaml`, else a shipped NAME.

    Args:
        path_or_name: Which one.
        trust: Whether a family of the user's own may be imported, which runs its code.

    Raises:
        NotFoundError: If there is no such file or name.
        ConfigError: If the file is wrong.
        UntrustedError: If it names a family of the user's own that nobody has vouched for.
    """
    given = str(path_or_name)
    local = Path(FOLDER) / f"{given}.yaml"
    for path in (Path(given), local):
        if os.path.isfile(path):  # noqa: PTH113 - False, not an error, for impossible names
            plain = load_yaml(path)
            return SearchSpace.from_plain(plain, where=str(path), name=path.stem, trust=trust)
    known = shipped_spaces()
    if given in known:
        path = shipped_folder(FOLDER) / f"{given}.yaml"
        return SearchSpace.from_plain(load_yaml(path), where=f"{FOLDER}/{path.name}", name=given)
    own = sorted(path.stem for path in Path(FOLDER).glob("*.yaml"))
    names = sorted({*known, *own})
    raise NotFoundError(
        f"no search space '{given}': neither a file nor one of {', '.join(names)}"
        f"{nearest(given, names)}"
    )


def shipped_spaces() -> list[str]:
    """Return the names of the spaces that come with `nas`."""
    return shipped_names(FOLDER)


def _reference(parts: Parts, where: str) -> Architecture | None:
    if parts.reference is None:
        return None
    try:
        return architecture(parts.family, **parts.reference)
    except ShapeError as error:
        raise ConfigError(f"{where}: reference: {error}") from error


def _indexes(
    dimension: Dimension, wanted: Architecture, shape: Shape, depth: int
) -> tuple[int, ...]:
    """Return the index of each slot that a shape of `depth` layers uses of a dimension."""
    value = getattr(shape, dimension.name)
    if value is None:
        value = _stated(dimension, wanted)
    layers = value if isinstance(value, tuple) else (value,) * depth
    needed = {ONE: layers[:1], ENDS: (layers[0], layers[-1])[:depth], FREE: layers}
    if dimension.layout == ONE and isinstance(value, tuple):
        raise ShapeError(f"{dimension.name}: {_few(value)} differs between layers")
    for number in needed[dimension.layout]:
        if number not in dimension.values:
            raise ShapeError(f"{dimension.name}: {number} is not one of {_few(dimension.values)}")
    return tuple(dimension.values.index(number) for number in needed[dimension.layout])


def _stated(dimension: Dimension, wanted: Architecture) -> int:
    """Return the allowed number that means the same as a field that is left to the family."""
    for number in dimension.values:
        try:
            stated = architecture(wanted.family, **{**wanted.shape, dimension.name: number})
        except ShapeError:
            continue
        if stated == wanted:
            return number
    raise ShapeError(
        f"{dimension.name}: what the family fills in is not one of {_few(dimension.values)}"
    )


def _index(parameter: Parameter, params: Mapping[str, int]) -> int:
    if parameter.name not in params:
        raise ShapeError(f"{parameter.name}: missing from the parameters")
    index, rest = divmod(params[parameter.name] - parameter.low, parameter.step)
    if rest or not 0 <= index < parameter.size:
        raise ShapeError(
            f"{parameter.name}: got {params[parameter.name]}, expected {parameter.low} to "
            f"{parameter.high} in steps of {parameter.step}"
        )
    return index


def _scalar(value: Any) -> Any:
    """Return numpy numbers, also those of a list, as Python's."""
    if isinstance(value, list):
        return tuple(_scalar(item) for item in value)
    return value.item() if hasattr(value, "item") else value


def _few(values: Sequence[int]) -> str:
    """Return numbers as text, shortened in the middle."""
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-2:]])
