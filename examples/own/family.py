"""A family outside nas: GPT-2 whose last layers run attention and feed-forward side by side.

Named `own.family:ParallelShape` in parallel.yaml, where `n_parallel` is a dimension as any other:
the search says how many such layers are good. A family is two classes: the shape, which is known
without torch, and the module. GPT-2's are the base here; `nas.families.Shape` and `Network` say
what a family without a base has to offer.

Source of side-by-side layers: Wang and Komatsuzaki, "GPT-J-6B", 2021.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

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
        n_parallel: So many layers, the last ones, run both halves side by side.
    """

    n_parallel: int = 0

    family: ClassVar[str] = "own.family:ParallelShape"
    module: ClassVar[str] = "own.family:ParallelGpt2"
    limits: ClassVar[Mapping[str, int]] = {**Gpt2Shape.limits, "n_parallel": 256}
    description: ClassVar[str] = "GPT-2, the last layers' halves side by side"

    def __post_init__(self) -> None:
        Gpt2Shape.__post_init__(self)
        if type(self.n_parallel) is not int or not 0 <= self.n_parallel <= self.n_layer:
            raise ShapeError(
                f"{self.family}: n_parallel: got {self.n_parallel!r}, expected 0 to {self.n_layer}"
            )

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields; one at its default is left out, so that ids stay when it is added."""
        own = {"n_parallel": self.n_parallel} if self.n_parallel else {}
        return {**Gpt2Shape.canonical(self), **own}

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes are valid, of numbers or whole arrays: others are never proposed."""
        divides = fields["d_model"] % fields["n_head"] == 0
        return divides & (fields["n_parallel"] <= fields["n_layer"])

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return GPT-2's cost without the second norm of each side-by-side layer."""
        found = Gpt2Shape.cost(fields, spec, context=context, batch=batch)
        saved = fields["n_parallel"] * context * batch * (2 * fields["d_model"] + 2)
        weights = fields["n_parallel"] * 2 * fields["d_model"]
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
    """The network: the last `n_parallel` of GPT-2's blocks are replaced."""

    def __init__(self, shape: ParallelShape, spec: TaskSpec) -> None:
        super().__init__(shape, spec)
        for layer in range(shape.n_layer - shape.n_parallel, shape.n_layer):
            self.transformer.h[layer] = ParallelBlock(shape)
