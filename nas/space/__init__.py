"""Search spaces: what may be chosen, under which constraints, and exact draws from them."""

from nas.space.bound import BoundSpace
from nas.space.dimensions import Parameter
from nas.space.feasible import LinearColumn
from nas.space.own import feasible_shape, named_shape, space_of_study, with_reference
from nas.space.rated import RatedSpace
from nas.space.space import SearchSpace, load_space, shipped_spaces

__all__ = [
    "BoundSpace",
    "LinearColumn",
    "Parameter",
    "RatedSpace",
    "SearchSpace",
    "feasible_shape",
    "load_space",
    "named_shape",
    "shipped_spaces",
    "space_of_study",
    "with_reference",
]
