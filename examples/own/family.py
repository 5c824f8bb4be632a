"""A family outside nas: GPT-2 whose upper layers run attention and feed-forward side by side.

Named `own.family:ParallelShape` in parallel.yaml, where `n_serial` is a dimension as any other: the
search says how many layers are better left as they were. A family is two classes: the shape, which
is known without torch, and the module. GPT-2's are the base here; `nas.families.Shape` and
`Network` say what a family without a base has to offer.

Source of side-by-side layers: Wang and Komatsuzaki, "GPT-J-6B", 2021.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from nas.errors import ShapeError
from nas.families.blocks import drop
from nas.families.gpt2.module import Block, Gpt2, LayerCache
from nas.families.gpt2.shape import Gpt2Shape
from nas.records import ShapeValue, TaskSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelShape(Gpt2Shape):
    """GPT-2's fields and one more.

    Attributes:
        n_serial: So many layers, the first ones, are GPT-2's; those above run both halves side by
            side.
    """

    n_serial: int

    family: ClassVar[str] = "own.family:ParallelShape"
    module: ClassVar[str] = "own.family:ParallelGpt2"
    limits: ClassVar[Mapping[str, int]] = {**Gpt2Shape.limits, "n_serial": 256}
    description: ClassVar[str] = "GPT-2, the upper layers' halves side by side"

    def __post_init__(self) -> None:
        Gpt2Shape.__post_init__(self)
        self._check_count("n_serial")
        if self.n_serial > self.n_layer:
            raise ShapeError(
                f"{self.family}: n_serial: got {self.n_serial}, expected n_layer {self.n_layer} at "
                "most"
            )

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields; they decide the architecture's id."""
        return {**Gpt2Shape.canonical(self), "n_serial": self.n_serial}

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes are valid, of numbers or whole arrays: others are never proposed."""
        divides = fields["d_model"] % fields["n_head"] == 0
        return divides & (fields["n_serial"] <= fields["n_layer"])

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return GPT-2's cost without the second norm of each side-by-side layer."""
        found = Gpt2Shape.cost(fields, spec, context=context, batch=batch)
        parallel = np.maximum(fields["n_layer"] - fields["n_serial"], 0)
        saved = parallel * context * batch * (2 * fields["d_model"] + 2)
        weights = parallel * 2 * fields["d_model"]
        memory = found["train_memory_bytes"] - 16 * weights - 4 * saved
        counts = {name: found[name] - weights for name in ("params", "non_embedding_params")}
        return {**found, **counts, "train_memory_bytes": memory}

    def native_config(self, spec: TaskSpec) -> None:
        """Return None: transformers has no such class."""


class ParallelBlock(Block):
    """A layer both of whose halves read one norm, and whose updates are added at once."""

    def __init__(self, shape: ParallelShape) -> None:
        super().__init__(shape)
        del self.ln_2

    def forward(self, x_BTD: Tensor, kernel: str, share: float) -> Tensor:
        """Return the layer's output for whole sequences."""
        y_BTD = self.ln_1(x_BTD)
        return x_BTD + drop(self.attn(y_BTD, kernel) + self.mlp(y_BTD), share, self.training)

    def step(self, x_BTD: Tensor, past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Return the layer's output for the next positions, and all keys and values so far."""
        y_BTD = self.ln_1(x_BTD)
        update, present = self.attn.step(y_BTD, past)
        return x_BTD + update + self.mlp(y_BTD), present

    def step_one(self, x_D: Tensor, past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Return what `step` does of one position of one text on a CPU."""
        y_D = self.ln_1(x_D)
        update, present = self.attn.step_one(y_D, past)
        return x_D + update + self.mlp.step_one(y_D), present


class ParallelGpt2(Gpt2):
    """The network: GPT-2's blocks from the `n_serial`-th on are replaced."""

    def __init__(self, shape: ParallelShape, spec: TaskSpec) -> None:
        super().__init__(shape, spec)
        for layer in range(shape.n_serial, shape.n_layer):
            self.transformer.h[layer] = ParallelBlock(shape)
