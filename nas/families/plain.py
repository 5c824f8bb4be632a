"""What families of equal layers share: the four usual fields, their rules, the cost of a block.

A block is attention over all heads and a feed-forward of two matrices, both with biases, and two
layer norms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from nas.errors import ShapeError
from nas.families.constants import check_constants, stated_constants
from nas.records import ShapeValue

# No shape beyond these is built or loaded: a folder's numbers are untrusted.
LIMITS = {"n_layer": 256, "d_model": 16_384, "n_head": 256, "d_ff": 65_536}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainShape:
    """Equal layers.

    Attributes:
        n_layer: Number of blocks.
        d_model: Width of the residual stream.
        n_head: Heads of each layer, a divisor of `d_model`.
        d_ff: Width of the feed-forward.
    """

    n_layer: int
    d_model: int
    n_head: int
    d_ff: int

    family: ClassVar[str]
    per_layer: ClassVar[frozenset[str]] = frozenset()
    limits: ClassVar[Mapping[str, int]] = LIMITS
    least: ClassVar[Mapping[str, float]] = {}
    constants: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for name in ("n_layer", "d_model", "n_head", "d_ff"):
            self._check_count(name)
        self._check_heads("n_head", self.n_head)
        check_constants(self)

    def _check_count(self, name: str) -> None:
        value, limit = getattr(self, name), self.limits[name]
        if type(value) is not int or not 1 <= value <= limit:
            raise ShapeError(
                f"{self.family}: {name}: got {value!r}, expected an integer 1 to {limit}"
            )

    def _check_heads(self, name: str, n_head: int) -> None:
        if self.d_model % n_head:
            raise ShapeError(
                f"{self.family}: {name}: {n_head} does not divide d_model {self.d_model}; "
                "choose a divisor"
            )

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields in canonical form."""
        fields = {name: getattr(self, name) for name in ("n_layer", "d_model", "n_head", "d_ff")}
        return {**fields, **stated_constants(self)}

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes are valid (see `families.Shape.valid`)."""
        return fields["d_model"] % fields["n_head"] == 0

    def uniform(self) -> Self:
        """Return the shape itself: its layers are equal."""
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class BlocksCost:
    """What blocks cost, as numbers, arrays or intervals.

    Attributes:
        params: Weights of all blocks.
        flops: Of an example, forward; multiply and add counted apart.
        saved: Numbers that a training step keeps of an example, with plain attention.
    """

    params: Any
    flops: Any
    saved: Any


def blocks_cost(n_layer: Any, d_model: Any, n_head: Any, d_ff: Any, *, length: Any) -> BlocksCost:
    """Return the cost of blocks with biases over `length` tokens.

    What is kept of each token: the inputs of both norms, of attention, of its projection back and
    of the feed-forward; queries, keys and values; softmax weights; the feed-forward before and
    after its nonlinearity; a mean and a scale for each norm.
    """
    matrices = 4 * d_model * d_model + 2 * d_model * d_ff
    kept = 8 * d_model + n_head * length + 2 * d_ff + 4
    return BlocksCost(
        params=n_layer * (matrices + 9 * d_model + d_ff),
        flops=n_layer * length * (2 * matrices + 4 * length * d_model),
        saved=n_layer * length * kept,
    )


def columns(
    *, params: Any, embedding: Any, flops: Any, saved: Any, context: int, batch: int
) -> dict[str, Any]:
    """Return the columns that `families.Shape.cost` promises.

    Args:
        params: Stored weights beside embeddings.
        embedding: Weights of embeddings of tokens and positions.
        flops: Of an example, forward.
        saved: Numbers that a training step keeps of an example.
        context: Tokens of an example.
        batch: Examples a step.
    """
    per_token = flops / context
    return {
        "params": params + embedding,
        "non_embedding_params": params,
        "flops_per_token": per_token,
        "train_flops_per_token": 3 * per_token,
        "train_memory_bytes": 16 * (params + embedding) + 4 * batch * saved,
    }
