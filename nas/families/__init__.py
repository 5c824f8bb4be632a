"""The table of model families, and the way from an architecture's record to its shape.

A family is a folder of two files. `shape.py` (no torch) holds the searchable fields, the rules
that make a shape valid, the closed-form cost and the native configuration; `module.py` holds the
torch module. Adding a family is such a folder and a row in `FAMILIES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, cast

from nas.errors import ShapeError, nearest
from nas.plugins import allow, import_row, resolve
from nas.records import Architecture, ShapeValue, TaskSpec

FAMILIES: dict[str, str] = {
    "llama": "nas.families.llama.shape:LlamaShape",
    "gpt2": "nas.families.gpt2.shape:Gpt2Shape",
    "bert": "nas.families.bert.shape:BertShape",
    "modernbert": "nas.families.modernbert.shape:ModernBertShape",
    "vit": "nas.families.vit.shape:VitShape",
    "blenderbot": "nas.families.blenderbot.shape:BlenderbotShape",
}


class Shape(Protocol):
    """What every family's shape offers; a frozen dataclass whose fields are the searchable ones.

    Attributes:
        family: The family's name, a key of `FAMILIES`.
        heads: The heads it can carry (see `records.HEADS`).
        module: Import string of its torch module (see `Network`).
        per_layer: Fields that may hold one number a layer.
        limits: Largest value of each whole-number field.
        least: Least value of columns of `cost`, where the task's sizes decide what is valid.
        description: One line for `nas families`.
    """

    family: ClassVar[str]
    heads: ClassVar[frozenset[str]]
    module: ClassVar[str]
    per_layer: ClassVar[frozenset[str]]
    limits: ClassVar[Mapping[str, int]]
    least: ClassVar[Mapping[str, float]]
    description: ClassVar[str]

    def __init__(self, **fields: Any) -> None: ...

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields in canonical form: defaults left out, equal lists collapsed."""
        ...

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes obey the family's own rules.

        Args:
            fields: Every field by name. A value is a number or a numpy array; a per-layer field
                is one such value or a list of them, one a layer, each judged by itself.
                Arrays broadcast.

        Returns:
            A bool, or a bool array of the broadcast size.
        """
        ...

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return the closed-form columns that constraints, tables and rate rules use.

        Args:
            fields: As for `valid`; all shapes must be valid. A per-layer field may count only
                through its sum over the layers: search spaces rely on it.
            spec: Vocabulary and head.
            context: Tokens an example, T.
            batch: Examples a training step, B (for memory).

        Returns:
            Numbers, or arrays of the broadcast size: `params` (stored weights),
            `non_embedding_params`, `flops_per_token` (forward, multiply and add counted apart),
            `train_flops_per_token` and `train_memory_bytes` (fp32 state and saved activations).
        """
        ...

    def native_config(self, spec: TaskSpec) -> dict[str, Any] | None:
        """Return the transformers `config.json`, or None if no native class has this shape."""
        ...

    def uniform(self) -> Self:
        """Return the smallest shape, equal in all layers, that can hold the same function."""
        ...


class Network(Protocol):
    """What every family's torch module offers beside `nn.Module`; built as `Module(shape, spec)`.

    Its state dict has transformers' names and nothing else, and it can be built on the meta
    device. It is called with the inputs of its head and returns logits (see `records.HEADS`);
    masks may be None, which means that nothing is padding. Networks with the head causal_lm or
    seq2seq also have what `generation` asks for.
    One whose tables grow as they are needed has `fill_tables()`, which exporters call before they
    trace it.

    Attributes:
        shape: As given.
        spec: As given.
        kernel: Attention kernel, one of `ops.KERNELS`; `sdpa` at first.
        dropout: Share of each residual update that training drops, 0 at first; part of the
            recipe, not of the architecture.
    """

    shape: Any
    spec: TaskSpec
    kernel: str
    dropout: float

    def initialise(self, generator: Any) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights."""
        ...

    def hidden_matrices(self) -> list[Any]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        ...


def shape_class(family: str) -> type[Shape]:
    """Return the shape class of a family.

    Args:
        family: A key of `FAMILIES`, or `package.module:Name` for one of the user's own, which is
            imported.

    Raises:
        NotFoundError: If the family is unknown.
        UntrustedError: If it is one of the user's own that nobody has vouched for.
    """
    return cast(type[Shape], resolve(FAMILIES, family, what="family"))


def module_class(family: str) -> Any:
    """Return the torch module class of a family; imports torch."""
    return import_row(shape_class(family).module)


def architecture(family: str, **fields: Any) -> Architecture:
    """Return the canonical architecture of a family and its fields.

    Args:
        family: A key of `FAMILIES`, or `package.module:Name` for one of the user's own, which is
            imported: whoever calls this has named it.
        **fields: Of its shape.

    Raises:
        NotFoundError: If the family is unknown.
        ShapeError: If a field is unknown or missing, or the shape breaks the family's rules.
    """
    allow([family])
    return Architecture(family=family, shape=_make(shape_class(family), fields).canonical())


def shape_of(architecture: Architecture) -> Shape:
    """Return the checked shape that an architecture describes.

    Raises:
        NotFoundError: If the family is unknown.
        ShapeError: If the fields do not make a valid shape.
    """
    return _make(shape_class(architecture.family), dict(architecture.shape))


def cost_of(
    architecture: Architecture, spec: TaskSpec, *, context: int, batch: int
) -> dict[str, float]:
    """Return the closed-form columns of one architecture (see `Shape.cost`)."""
    shape = shape_of(architecture)
    fields = {name: getattr(shape, name) for name in field_names(type(shape))}
    columns = type(shape).cost(fields, spec, context=context, batch=batch)
    return {name: float(value) for name, value in columns.items()}


def field_names(kind: type[Shape]) -> list[str]:
    """Return the names of a family's fields."""
    return [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # every Shape is a dataclass


def _is_required(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING


def _make(kind: type[Shape], fields: Mapping[str, Any]) -> Shape:
    known = field_names(kind)
    for name in fields:
        if name not in known:
            raise ShapeError(
                f"family '{kind.family}' has no field '{name}'; "
                f"it has {', '.join(known)}{nearest(name, known)}"
            )
    needed = [one.name for one in dataclasses.fields(kind) if _is_required(one)]  # type: ignore[arg-type]  # every Shape is a dataclass
    if missing := [name for name in needed if name not in fields]:
        raise ShapeError(f"family '{kind.family}': {', '.join(missing)} missing: give all fields")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ShapeError(f"family '{kind.family}': {error}") from error
