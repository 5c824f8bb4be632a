"""What the largest job of a space takes, by the cost model: so many fit on a machine."""

from __future__ import annotations

import numpy as np

from nas.families import shape_class
from nas.space import BoundSpace

MEMORY = "train_memory_bytes"
DRAWS = 64
# A bound below this decides nothing: a worker takes nearly as much before it has a job.
SMALL = 256 * 2**20


def job_bytes(space: BoundSpace, seed: int) -> int:
    """Return the bytes that a training step of the space's largest shape takes.

    Where every dimension at its largest makes a small model already, that is the answer, whether
    such a shape is feasible or not. Else it is the largest of some feasible ones.

    Args:
        space: The space under its constraints.
        seed: Of the draws.
    """
    most = _corner(space)
    if most > SMALL:
        rng = np.random.default_rng(seed)
        shapes = [space.sample(rng) for _ in range(DRAWS)]
        if space.space.reference is not None:
            shapes.append(space.space.reference)
        most = max(space.columns(shape)[MEMORY] for shape in shapes)
    return int(most)


def _corner(space: BoundSpace) -> float:
    """Return the memory of the deepest shape with every other dimension at its largest."""
    layout = space.space.layout
    depth = max(layout.depths)
    fields = layout.fields(depth, [count - 1 for count in layout.sizes(depth)])
    kind = shape_class(space.space.family)
    columns = kind.cost(fields, space.spec, context=space.context, batch=space.batch)
    return float(np.max(columns[MEMORY]))
