"""A space under its constraints for one task: draws, neighbours and counts of feasible shapes."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import ConfigError, ShapeError
from nas.families import cost_of, field_names, shape_class, shape_of
from nas.records import Architecture, TaskSpec
from nas.space.feasible import Bools, Constraint, Feasibility, LinearColumn
from nas.space.interval import highest, hull, lowest

if TYPE_CHECKING:
    from nas.space.space import SearchSpace

ENUMERABLE = 1 << 22  # shapes that are all looked at, in about 0.3 s
DRAWS = 1 << 16  # uniform draws where they are not; standard error of a share below 0.2 %
BOXES = 64  # into which the shapes of a depth are cut for bounds, in some milliseconds
MOST_TOKENS = 1 << 26  # tokens a step; beyond, 64 bits might not hold the bytes of a large shape

Ranges = dict[str, tuple[int, int]]


class _Survey:
    """What was seen of a space: how many shapes, how many feasible, and the latter's ranges."""

    def __init__(self) -> None:
        self.seen = 0
        self.feasible = 0
        self.ranges: Ranges = {}

    @property
    def share(self) -> float:
        """The feasible share of what was seen."""
        return self.feasible / self.seen

    def add(self, good: Bools, columns: Mapping[str, Any]) -> None:
        """Count shapes, of which those where `good` are feasible, and widen the ranges."""
        self.seen += good.size
        self.feasible += int(good.sum())
        self.widen(good, columns)

    def widen(self, good: Bools, columns: Mapping[str, Any]) -> None:
        """Widen the ranges by the columns of the shapes where `good`."""
        for name in ("params", "flops_per_token"):
            values = np.broadcast_to(columns[name], good.shape)[good]
            if values.size:
                low, high = self.ranges.get(name, (values[0], values[0]))
                self.ranges[name] = (int(min(low, values.min())), int(max(high, values.max())))


class BoundSpace:
    """The feasible shapes of a space. Not for several threads: it remembers what it found.

    Attributes:
        space: The space itself.
        spec: The task's sizes.
        context: Tokens an example.
        batch: Examples a step.
        constraints: The space's, and those of the family that the task's sizes decide.
        limits: Bounds on columns beside the closed-form ones.
    """

    def __init__(
        self,
        space: SearchSpace,
        spec: TaskSpec,
        *,
        context: int,
        batch: int,
        limits: tuple[tuple[LinearColumn, float], ...] = (),
    ) -> None:
        self.space = space
        self.limits = limits
        self.spec = spec
        self.context = context
        self.batch = batch
        if context * batch > MOST_TOKENS:
            raise ConfigError(
                f"recipe: context {context} x batch {batch}: expected at most {MOST_TOKENS} tokens"
            )
        kind = shape_class(space.family)
        least = kind.least if spec.head in kind.heads else {}
        self.constraints = (
            *space.constraints,
            *(Constraint(column=name, side="min", bound=low) for name, low in least.items()),
            *(Constraint(column=c.name, side="max", bound=high) for c, high in limits),
        )
        self._engine = self._under(self.constraints)
        if not self._engine.depths:
            raise ConfigError(self._why_empty())
        if space.reference is not None and (why := self.why_infeasible(space.reference)):
            raise ConfigError(f"{space.where}: reference: {why}")

    def under(self, column: LinearColumn, bound: float) -> BoundSpace:
        """Return the space without the shapes that have more than `bound` of a column.

        A reference that has more is none of the new space's.

        Raises:
            ConfigError: If no shape is left.
        """
        space, reference = self.space, self.space.reference
        if reference is not None and column.of(self.columns(reference), _fields(reference)) > bound:
            space = replace(space, reference=None)
        return BoundSpace(
            space,
            self.spec,
            context=self.context,
            batch=self.batch,
            limits=(*self.limits, (column, bound)),
        )

    def feasible(self, architecture: Architecture) -> bool:
        """Say whether a shape is in the space and satisfies every constraint."""
        return not self.why_infeasible(architecture)

    def why_infeasible(self, architecture: Architecture) -> str:
        """Return in one line why a shape is not feasible; empty if it is."""
        try:
            self.space.encode(architecture)
        except ShapeError as error:
            return str(error)
        columns = self.columns(architecture)
        for constraint in self.constraints:
            value = columns[constraint.column]
            if not constraint.allows(value):
                return f"{constraint.column} is {value:,.0f}, {_text(constraint)}"
        return ""

    def columns(self, architecture: Architecture) -> dict[str, float]:
        """Return the closed-form columns of a shape under this task, context and batch."""
        columns = cost_of(architecture, self.spec, context=self.context, batch=self.batch)
        fields = _fields(architecture) if self.limits else {}
        return columns | {c.name: float(c.of(columns, fields)) for c, _ in self.limits}

    def at(self, params: Mapping[str, int]) -> Architecture | None:
        """Return the feasible shape that parameters stand for, None if they stand for none.

        Slots that the shape does not use must be lowest, as `SearchSpace.encode` has them.
        """
        try:
            found = self.space.decode(params)
        except ShapeError:
            return None
        if self.space.encode(found) != dict(params) or not self._allowed(found):
            return None
        return found

    def _allowed(self, architecture: Architecture) -> bool:
        columns = self.columns(architecture)
        return all(c.allows(columns[c.column]) for c in self.constraints)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a feasible shape: depth, then width, then the rest in the order of the file.

        Each is uniform among the values that, given those before, lead to a feasible shape.
        """
        return self.space.shape(*self._engine.draw(rng))

    def nearest(
        self, params: Mapping[str, int], *, exclude: Container[str] = frozenset()
    ) -> Architecture | None:
        """Return the feasible shape closest to some parameters, by index steps in all slots.

        With dozens of free layers a close one rather than the closest (see `by_distance`).

        Args:
            params: A point of the space, feasible or not.
            exclude: Architecture ids that are not wanted.

        Returns:
            The shape, the same one on every call; None if all feasible ones are excluded.

        Raises:
            ShapeError: If `params` is no point of the space.
        """
        depth, targets = self.space.locate(params)
        for found_depth, chosen in self._engine.by_distance(depth, targets):
            found = self.space.shape(found_depth, chosen)
            if found.id not in exclude:
                return found
        return None

    def size(self) -> int:
        """Return how many shapes the dimensions span, feasible or not."""
        return sum(self._sizes().values())

    def count(self) -> int | None:
        """Return how many shapes are feasible; None if there are too many to look at all."""
        return self._census.feasible if self.enumerable else None

    def feasible_share(self, rng: np.random.Generator) -> float:
        """Return the share of feasible shapes: exact if `enumerable`, else of uniform draws."""
        return self._survey(rng).share

    def ranges(self, rng: np.random.Generator) -> Ranges:
        """Return the smallest and largest `params` and `flops_per_token` of feasible shapes.

        Exact if `enumerable`, else of draws.
        """
        return self._survey(rng).ranges

    def bounds(self, column: str, *, constrained: bool = True) -> tuple[float, float]:
        """Return what no feasible shape has less of, and none more, of a closed-form column.

        Exact in a small space, else what interval arithmetic says.

        Args:
            column: Such as `params`.
            constrained: Whether shapes that a constraint rules out are left out.
        """
        exact = self.size() <= DRAWS
        ends = [
            end
            for depth in self._engine.depths
            for end in (
                self._seen_ends(depth, column, constrained=constrained)
                if exact
                else self._box_ends(depth, column)
            )
        ]
        low, high = min(one for one, _ in ends), max(other for _, other in ends)
        for constraint in self.constraints if constrained else ():
            if constraint.column == column and constraint.side == "max":
                high = min(high, constraint.bound)
            elif constraint.column == column:
                low = max(low, constraint.bound)
        return low, high

    def _seen_ends(
        self, depth: int, column: str, *, constrained: bool
    ) -> Iterator[tuple[float, float]]:
        """Yield the ends of a column over each block of a depth, every shape looked at."""
        for _, fields, good in self._engine.blocks(depth):
            values = np.broadcast_to(self._engine.cost(fields)[column], good.shape)
            values = values[good] if constrained else values
            if values.size:
                yield float(values.min()), float(values.max())

    def _box_ends(self, depth: int, column: str) -> Iterator[tuple[float, float]]:
        """Yield the ends of a column over boxes that together hold a depth's shapes.

        Short dimensions are taken value by value: a boolean has no direction in which a shape
        grows, and what is divided by a number of heads is multiplied by it again.
        """
        layout = self.space.layout
        sizes = layout.sizes(depth)
        apart: set[int] = set()
        for slot in sorted(range(len(sizes)), key=sizes.__getitem__):
            if prod(sizes[one] for one in (*apart, slot)) <= BOXES:
                apart.add(slot)
        each = [range(n) if slot in apart else (None,) for slot, n in enumerate(sizes)]
        for chosen in product(*each):
            at_low = [0 if at is None else at for at in chosen]
            at_high = [n - 1 if at is None else at for at, n in zip(chosen, sizes, strict=True)]
            low, high = layout.fields(depth, at_low), layout.fields(depth, at_high)
            found = self._engine.cost({name: hull(low[name], high[name]) for name in low})[column]
            yield float(lowest(found)), float(highest(found))

    def architectures(self) -> Iterator[Architecture]:
        """Yield every feasible shape; meant for spaces that are `enumerable`."""
        for depth in self._engine.depths:
            for indexes, _, good in self._engine.blocks(depth):
                for at in np.flatnonzero(good):
                    yield self.space.shape(depth, [int(index[at]) for index in indexes])

    @property
    def enumerable(self) -> bool:
        """Whether the space is small enough that every shape is looked at."""
        return self.size() <= ENUMERABLE

    def describe(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return what `nas spaces` prints: counts, feasible share and ranges, all plain."""
        survey = self._survey(rng)
        return {
            "name": self.space.name,
            "description": self.space.description,
            "family": self.space.family,
            "shapes": self.size(),
            "feasible": self.count(),
            "feasible_share": survey.share,
            "exact": self.enumerable,
            **{name: list(ends) for name, ends in survey.ranges.items()},
        }

    @cached_property
    def _census(self) -> _Survey:
        """Look at every shape."""
        census = _Survey()
        for depth in self.space.layout.depths:
            for _, fields, good in self._engine.blocks(depth):
                census.add(good, self._engine.cost(fields))
        return census

    def _survey(self, rng: np.random.Generator) -> _Survey:
        """Look at every shape, or at uniform draws; start-up draws make sure of some feasible."""
        if self.enumerable:
            return self._census
        survey = _Survey()
        weights = [size / self.size() for size in self._sizes().values()]
        draws_of = zip(self._sizes(), rng.multinomial(DRAWS, weights), strict=True)
        for depth, draws in draws_of:
            indexes = [rng.integers(n, size=draws) for n in self.space.layout.sizes(depth)]
            fields = self.space.layout.fields(depth, indexes)
            good = np.broadcast_to(self._engine.holds(fields), [draws])
            survey.add(good, self._engine.cost(fields))
        for _ in range(30):
            fields = self.space.layout.fields(*self._engine.draw(rng))
            survey.widen(np.array([True]), self._engine.cost(fields))
        return survey

    def _sizes(self) -> dict[int, int]:
        layout = self.space.layout
        return {depth: prod(layout.sizes(depth)) for depth in layout.depths}

    def _under(self, constraints: tuple[Constraint, ...]) -> Feasibility:
        return Feasibility(
            shape_class(self.space.family),
            self.space.layout,
            constraints,
            self.spec,
            context=self.context,
            batch=self.batch,
            extra=[column for column, _ in self.limits],
        )

    def _why_empty(self) -> str:
        """Name the fewest constraints that together rule everything out."""
        for size in range(len(self.constraints) + 1):
            for some in combinations(self.constraints, size):
                if not self._under(some).depths:
                    return f"{self.space.where}: {self._blame(some)}"
        raise AssertionError("an empty space that no constraint empties")

    def _blame(self, constraints: tuple[Constraint, ...]) -> str:
        if not constraints:
            return (
                f"dimensions: no shape obeys the rules of family '{self.space.family}' "
                "(divisibility of heads and widths); widen a dimension"
            )
        names = " and ".join(f"{c.name} {c.bound:.15g}" for c in constraints)
        together = "together rule" if len(constraints) > 1 else "rules"
        return f"constraints: {names} {together} out every shape; loosen it or widen a dimension"


def _fields(architecture: Architecture) -> dict[str, Any]:
    shape = shape_of(architecture)
    return {name: getattr(shape, name) for name in field_names(type(shape))}


def _text(constraint: Constraint) -> str:
    side = "above" if constraint.side == "max" else "below"
    return f"{side} {constraint.name} {constraint.bound:,.15g}"
