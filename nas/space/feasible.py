"""Which shapes of a space are feasible, decided exactly and without drawing at random.

The family's `valid` and `cost` work on whole arrays, so a box of at most `BLOCK` shapes is decided
in one call. A larger box is first bounded: if its cheapest or dearest corner is feasible it holds a
shape; if interval arithmetic shows that a constraint fails everywhere it holds none; otherwise it
is split. Two things are asked of a family so that boxes of many free layers stay small: `valid`
judges each layer's number by itself, and `cost` reads a per-layer field only through its sum.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from heapq import heappop, heappush
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.families import Shape
from nas.records import TaskSpec
from nas.space.dimensions import ENDS, FREE, ONE, Dimension, Layout
from nas.space.interval import highest, hull, lowest

BLOCK = 1 << 15  # about 1 ms a call; larger blocks make the first draws of a region slow
COARSE = 1 << 14  # points tried for a witness in a box that its bounds do not decide
PATIENCE = 500  # large boxes opened for the very nearest shape; then a near one will do
OPEN = -1  # a slot that is not chosen yet

Chosen = tuple[int, ...]  # an index or OPEN for each slot
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Targets = dict[int, Chosen]
_Block = tuple[Ints, Ints]  # distances, ascending, and the flat cells at them


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """A bound on one closed-form column of the family's cost."""

    column: str
    side: str  # max or min
    bound: float

    @property
    def name(self) -> str:
        """The key in the YAML file, such as `max_params`."""
        return f"{self.side}_{self.column}"

    def allows(self, value: Any) -> Any:
        """Say whether a number, or each of an array, is within the bound."""
        return value <= self.bound if self.side == "max" else value >= self.bound


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearColumn:
    """A column beside the closed-form ones: a sum of some of them and of fields, none negative.

    Being non-negative it grows with all that it counts, as the bounds of boxes suppose.

    Attributes:
        name: The column's.
        constant: What every shape has.
        weights: What a unit of a closed-form column, or of a field that is one number, adds.
    """

    name: str
    constant: float
    weights: Mapping[str, float]

    def of(self, columns: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
        """Return the column of shapes from their closed-form columns and their fields."""
        total: Any = self.constant
        for name, weight in self.weights.items():
            total = total + (columns[name] if name in columns else fields[name]) * weight
        return total


class Feasibility:
    """Answers for one space, task and batch; remembers what it found (bounded)."""

    def __init__(
        self,
        kind: type[Shape],
        layout: Layout,
        constraints: Sequence[Constraint],
        spec: TaskSpec,
        *,
        context: int,
        batch: int,
        block: int = BLOCK,
        extra: Sequence[LinearColumn] = (),
    ) -> None:
        self.layout = layout
        self._kind = kind
        self._constraints = tuple(constraints)
        self._spec, self._context, self._batch = spec, context, batch
        self._block = block
        self._extra = tuple(extra)
        self._slots = cache(layout.slots)
        self._sizes = cache(layout.sizes)
        self._known: dict[Hashable, bool] = {}
        self._grid = lru_cache(maxsize=1024)(self._compute_grid)
        self._domains = lru_cache(maxsize=8192)(self._compute_domains)

    def cost(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the family's cost columns of fields that may be arrays or intervals."""
        columns = self._kind.cost(fields, self._spec, context=self._context, batch=self._batch)
        return columns | {column.name: column.of(columns, fields) for column in self._extra}

    def holds(self, fields: dict[str, Any]) -> Any:
        """Say which shapes obey the family's rules and every constraint."""
        good = self._kind.valid(fields)
        if self._constraints:
            columns = self.cost(fields)
            for constraint in self._constraints:
                good = good & constraint.allows(columns[constraint.column])
        return good

    @cached_property
    def depths(self) -> list[int]:
        """The numbers of layers that have a feasible shape."""
        return [d for d in self.layout.depths if self._exists(d, self.opening(d))]

    def opening(self, depth: int) -> Chosen:
        """Return the state in which nothing but the depth is chosen."""
        return (OPEN,) * len(self._slots(depth))

    def draw(self, rng: np.random.Generator) -> tuple[int, Chosen]:
        """Draw a feasible shape slot by slot, each uniform among the values that lead to one."""
        depth = self.depths[rng.integers(len(self.depths))]
        chosen = self.opening(depth)
        while self._volume(depth, chosen) > self._block:
            slot = chosen.index(OPEN)
            chosen = _put(chosen, slot, _pick(self._alive(depth, chosen, slot), rng))
        grid = self._grid(depth, chosen)
        decided = [index for index in chosen if index != OPEN]
        while grid.ndim:
            leads = grid.any(axis=tuple(range(1, grid.ndim)), keepdims=True)
            decided.append(_pick(leads.ravel(), rng))
            grid = grid[decided[-1]]
        return depth, tuple(decided)

    def by_distance(self, depth: int, targets: Targets) -> Iterator[tuple[int, Chosen]]:
        """Yield every feasible shape, those of the fewest index steps from a target first.

        Boxes wait in a heap under the least distance that they may hold. Once `PATIENCE` large ones
        were opened, which takes many free layers, the fullest state goes first: near, not nearest.

        Args:
            depth: The target's number of layers.
            targets: The target's index in each slot, for every depth of the space.

        Yields:
            Depth and chosen indexes.
        """
        rank = self.layout.depths.index
        heap: list[tuple[int, int, int, Chosen]] = []
        opened = 0

        def wait(distance: int, depth: int, chosen: Chosen) -> None:
            hurried = chosen.count(OPEN) - len(chosen) - 1  # below every distance
            heappush(heap, (hurried if opened > PATIENCE else distance, distance, depth, chosen))

        for start in self.depths:
            wait(abs(rank(start) - rank(depth)), start, self.opening(start))
        blocks: dict[tuple[int, Chosen], _Block] = {}
        while heap:
            _, distance, depth, chosen = heappop(heap)
            if self._volume(depth, chosen) > self._block:
                opened += 1
                for steps, child in self._children(depth, chosen, targets[depth]):
                    wait(distance + steps, depth, child)
                continue
            if (depth, chosen) not in blocks:
                blocks[depth, chosen] = self._by_steps(depth, chosen, targets[depth], distance)
            distances, cells = blocks[depth, chosen]
            first, stop = np.searchsorted(distances, [distance, distance + 1])
            for cell in cells[first:stop]:
                yield depth, self._fill(depth, chosen, int(cell))
            if stop < len(cells):
                wait(int(distances[stop]), depth, chosen)

    def blocks(self, depth: int) -> Iterator[tuple[list[Ints], dict[str, Any], Bools]]:
        """Yield the whole space of a depth in pieces: indexes of each slot, fields, feasible."""
        sizes = self._sizes(depth)
        for start in range(0, prod(sizes), self._block):
            flat = np.arange(start, min(start + self._block, prod(sizes)))
            indexes = list(np.unravel_index(flat, sizes))
            fields = self.layout.fields(depth, indexes)
            yield indexes, fields, np.broadcast_to(self.holds(fields), flat.shape)

    def _alive(self, depth: int, chosen: Chosen, slot: int) -> Bools:
        """Say which values of an open slot of a large box still lead to a feasible shape."""
        sure, possible = self._verdicts(depth, chosen, slot)
        for index in np.flatnonzero(possible & ~sure):
            sure[index] = self._exists(depth, _put(chosen, slot, index))
        return sure

    def _exists(self, depth: int, chosen: Chosen) -> bool:
        """Say whether some completion is feasible."""
        domains = self._slots_and_domains(depth, chosen)[1]
        for slot, index in enumerate(chosen):
            if index != OPEN and not domains[slot][index]:
                return False
        if not all(domain.any() for domain in domains):
            return False
        key = self._key(depth, chosen)
        if key not in self._known:
            if len(self._known) > 200_000:
                self._known.clear()
            self._known[key] = self._search(depth, chosen)
        return self._known[key]

    def _search(self, depth: int, chosen: Chosen) -> bool:
        if self._volume(depth, chosen) <= self._block:
            return bool(self._grid(depth, chosen).any())
        slots = self._slots(depth)
        still_open = [slot for slot, index in enumerate(chosen) if index == OPEN]
        # Free layers last: with all else known the bounds are tight and `_key` merges states.
        slot = min(still_open, key=lambda s: ((ONE, ENDS, FREE).index(slots[s].layout), s))
        sure, possible = self._verdicts(depth, chosen, slot)
        return bool(sure.any()) or any(
            self._exists(depth, _put(chosen, slot, index)) for index in np.flatnonzero(possible)
        )

    def _verdicts(self, depth: int, chosen: Chosen, slot: int) -> tuple[Bools, Bools]:
        """Return which values of a slot surely lead, and which may lead, to a feasible shape."""
        low = self.layout.fields(depth, self._corner(depth, chosen, slot, 0))
        high = self.layout.fields(depth, self._corner(depth, chosen, slot, -1))
        columns = self.cost({name: hull(low[name], high[name]) for name in low})
        possible: Any = True
        for constraint in self._constraints:
            best = lowest if constraint.side == "max" else highest
            possible = possible & constraint.allows(best(columns[constraint.column]))
        size = self._sizes(depth)[slot]
        sure = _any_leading(self.holds(low) | self.holds(high), size)
        maybe = _any_leading(possible, size) & self._slots_and_domains(depth, chosen)[1][slot]
        if (maybe & ~sure).any():
            points = self.layout.fields(depth, self._coarse(depth, chosen, slot))
            sure |= _any_leading(self.holds(points), size)
        return sure, maybe

    def _corner(self, depth: int, chosen: Chosen, slot: int, end: int) -> list[Any]:
        """Return indexes: `slot` along the last axis, the other open slots at their low or high.

        Both values of an open boolean get an axis of their own: more is not dearer there.
        """
        slots, domains = self._slots_and_domains(depth, chosen)
        axes = 1
        corner: list[Any] = []
        for s, index in enumerate(chosen):
            if s == slot:
                corner.append(np.arange(len(slots[s].values)))
            elif index != OPEN:
                corner.append(index)
            elif isinstance(slots[s].values[0], bool):
                axes += 1
                corner.append(np.arange(len(slots[s].values)).reshape(-1, *[1] * (axes - 1)))
            else:
                corner.append(int(np.flatnonzero(domains[s])[end]))
        return corner

    def _coarse(self, depth: int, chosen: Chosen, slot: int) -> list[Any]:
        """Return indexes: `slot` along the last axis, the other open slots on a coarse grid.

        An axis for each open slot, but one for all slots of a per-layer dimension; the shortest
        axes keep all their values, the others a share of those that the rules allow.
        """
        slots, domains = self._slots_and_domains(depth, chosen)
        allowed: dict[Hashable, Ints] = {}
        for s, dimension in enumerate(slots):
            if chosen[s] == OPEN and s != slot:
                axis: Hashable = s if dimension.layout == ONE else dimension.name
                allowed[axis] = np.flatnonzero(domains[s])
        budget = COARSE / len(slots[slot].values)
        axes: dict[Hashable, Ints] = {}
        for name, indexes in sorted(allowed.items(), key=lambda item: len(item[1])):
            most = max(2, int(budget ** (1 / (len(allowed) - len(axes)))))
            ends = np.linspace(0, len(indexes) - 1, min(most, len(indexes)))
            picked = indexes[np.unique(ends.round().astype(np.int64))]
            budget /= len(picked)
            axes[name] = picked.reshape(-1, *[1] * (len(axes) + 1))
        own = {slot: np.arange(len(slots[slot].values))}
        return [
            index if index != OPEN else own.get(s, axes.get(s, axes.get(slots[s].name)))
            for s, index in enumerate(chosen)
        ]

    def _slots_and_domains(
        self, depth: int, chosen: Chosen
    ) -> tuple[tuple[Dimension, ...], list[Bools]]:
        slots = self._slots(depth)
        plain = tuple(OPEN if d.layout != ONE else i for i, d in zip(chosen, slots, strict=True))
        return slots, self._domains(depth, plain)

    def _compute_domains(self, depth: int, plain: Chosen) -> list[Bools]:
        """Say for each slot which values the family's rules still allow; nothing about the cost.

        Args:
            depth: Layers of the model.
            plain: What is chosen, with the slots of all per-layer dimensions open: their numbers
                are judged one by one, so that a dimension needs one axis.
        """
        slots = self._slots(depth)
        axes = {d.name: d for d, index in zip(slots, plain, strict=True) if index == OPEN}
        sizes = [len(d.values) for d in axes.values()]
        everything = [np.ones(len(d.values), dtype=bool) for d in slots]
        if prod(sizes) > self._block:
            return everything
        fields = self.layout.fields(depth, [max(index, 0) for index in plain])
        grids = np.meshgrid(*[d.values for d in axes.values()], indexing="ij", sparse=True)
        fields.update(zip(axes, grids, strict=True))
        allowed = np.broadcast_to(self._kind.valid(fields), sizes)
        masks = {}
        for axis, name in enumerate(axes):
            others = tuple(a for a in range(len(axes)) if a != axis)
            masks[name] = allowed.any(axis=others, keepdims=True).ravel()
        left = bool(allowed.any())
        return [masks.get(d.name, m & left) for d, m in zip(slots, everything, strict=True)]

    def _key(self, depth: int, chosen: Chosen) -> Hashable:
        """Return what decides whether a completion exists.

        With all else chosen, free layers matter by how many are open and by the sum of the others.
        """
        slots = self._slots(depth)
        if any(i == OPEN and d.layout != FREE for i, d in zip(chosen, slots, strict=True)):
            return depth, chosen
        sums = []
        for dimension in self.layout.dimensions:
            if dimension.layout == FREE:
                own = [i for i, d in zip(chosen, slots, strict=True) if d is dimension]
                done = [dimension.values[i] for i in own if i != OPEN]
                sums.append((len(done), sum(done)))
        others = [i for i, d in zip(chosen, slots, strict=True) if d.layout != FREE]
        return depth, tuple(others), tuple(sums)

    def _volume(self, depth: int, chosen: Chosen) -> int:
        """Return the number of completions, feasible or not."""
        return prod(self._open_sizes(depth, chosen))

    def _open_sizes(self, depth: int, chosen: Chosen) -> list[int]:
        sizes = self._sizes(depth)
        return [n for n, index in zip(sizes, chosen, strict=True) if index == OPEN]

    def _compute_grid(self, depth: int, chosen: Chosen) -> Bools:
        """Say which completions are feasible, an axis for each open slot."""
        sizes = self._open_sizes(depth, chosen)
        axes = iter(np.ogrid[tuple(slice(n) for n in sizes)])
        indexes = [next(axes) if index == OPEN else index for index in chosen]
        fields = self.layout.fields(depth, indexes)
        return np.broadcast_to(self.holds(fields), sizes).copy()

    def _children(self, depth: int, chosen: Chosen, target: Chosen) -> Iterator[tuple[int, Chosen]]:
        slot = chosen.index(OPEN)
        for index in np.flatnonzero(self._alive(depth, chosen, slot)):
            yield abs(int(index) - target[slot]), _put(chosen, slot, index)

    def _by_steps(self, depth: int, chosen: Chosen, target: Chosen, distance: int) -> _Block:
        """Return a block's feasible cells and their distances, which start at `distance`."""
        axes = np.ogrid[tuple(slice(n) for n in self._open_sizes(depth, chosen))]
        goals = [goal for goal, index in zip(target, chosen, strict=True) if index == OPEN]
        grid = self._grid(depth, chosen)
        distances = np.full(grid.shape, distance)
        for axis, goal in zip(axes, goals, strict=True):
            distances += abs(axis - goal)
        cells = np.flatnonzero(grid)
        order = np.argsort(distances.ravel()[cells], kind="stable")
        return distances.ravel()[cells][order], cells[order]

    def _fill(self, depth: int, chosen: Chosen, cell: int) -> Chosen:
        """Return the full state of a flat cell of a block."""
        indexes = iter(np.unravel_index(cell, self._open_sizes(depth, chosen)))
        return tuple(int(next(indexes)) if index == OPEN else index for index in chosen)


def _put(chosen: Chosen, slot: int, index: Any) -> Chosen:
    return (*chosen[:slot], int(index), *chosen[slot + 1 :])


def _pick(alive: Bools, rng: np.random.Generator) -> int:
    indexes = np.flatnonzero(alive)
    return int(indexes[rng.integers(len(indexes))])


def _any_leading(flags: Any, size: int) -> Bools:
    """Reduce an array that broadcasts to (..., size) to its last axis."""
    flags = np.asarray(flags)
    spread = np.broadcast_to(flags, np.broadcast_shapes(flags.shape, (size,)))
    return np.asarray(spread.reshape(-1, size).any(axis=0))
