"""Several projections of one input as one product, stored apart under their native names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FusedLinear(nn.Linear):
    """Several projections of one input as one product.

    `owner` reads and writes them apart in its state dict, under their native names.

    Args:
        owner: The module that this one is the attribute `fused` of.
        n_in: Width of the input.
        parts: Output width of each projection by its native name.
        bias: Whether the projections have biases.
    """

    def __init__(
        self, owner: nn.Module, n_in: int, parts: Mapping[str, int], *, bias: bool = False
    ) -> None:
        super().__init__(n_in, sum(parts.values()), bias=bias)
        self.parts = dict(parts)
        owner.register_state_dict_post_hook(_split_parts)
        owner.register_load_state_dict_pre_hook(_join_parts)


def _kinds(owner: nn.Module) -> list[str]:
    return ["weight"] if owner.fused.bias is None else ["weight", "bias"]  # type: ignore[union-attr]  # a FusedLinear


def _split_parts(owner: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    parts: dict[str, int] = owner.fused.parts  # type: ignore[assignment,union-attr]  # a FusedLinear
    for kind in _kinds(owner):
        rows = state.pop(f"{prefix}fused.{kind}").split(list(parts.values()))
        state.update({f"{prefix}{name}.{kind}": row for name, row in zip(parts, rows, strict=True)})


def _join_parts(owner: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for kind in _kinds(owner):
        keys = [f"{prefix}{name}.{kind}" for name in owner.fused.parts]  # type: ignore[union-attr]  # a FusedLinear
        if all(key in state for key in keys):
            state[f"{prefix}fused.{kind}"] = join_rows([state.pop(key) for key in keys])


def join_rows(parts: Sequence[Tensor]) -> Tensor:
    """Put matrices or vectors below each other.

    A view where they lie so in memory already, else a copy. A stored model's parts lie so, which
    is why a mapped file is loaded without reading it.
    """
    first, end = parts[0], parts[0].data_ptr()
    memory = first.untyped_storage().data_ptr()
    for part in parts:
        beside = part.untyped_storage().data_ptr() == memory and part.data_ptr() == end
        if not beside or not part.is_contiguous() or part.device.type == "meta":
            return torch.cat(list(parts))
        end += part.numel() * part.element_size()
    rows = sum(len(part) for part in parts)
    return first.as_strided((rows, *first.shape[1:]), first.stride())
