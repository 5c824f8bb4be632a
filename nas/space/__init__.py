"""Search spaces: what may be chosen, under which constraints, and exact draws from them."""

from nas.space.bound import BoundSpace
from nas.space.dimensions import Parameter
from nas.space.feasible import LinearColumn
from nas.space.space import SearchSpace, load_space, shipped_spaces

__all__ = [
    "BoundSpace",
    "LinearColumn",
    "Parameter",
    "SearchSpace",
    "load_space",
    "shipped_spaces",
]
