"""The feed-forward of a pre-norm block in training on a CPU, with backward passes by hand.

Few positions are worked on at once, in the fewest calls. Many are in parts, whose buffers stay in
the cache from one part to the next, and keep less for the backward pass.

Shapes: B batch, T sequence, M = B * T positions, D d_model, F d_ff.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.families.cpu_training import (
    Grads,
    add_product,
    cast,
    has_large_cache,
    normed_product,
    normed_product_backward,
    number,
    product_backward,
    unit_vectors,
    unit_vectors_backward,
    update_gradient,
)

# Beyond these parts pay. Of whole steps of width 64 in bf16 they take 3 % more time at 1024
# positions, 4 % less at 2048; in float32 they take 3 and 5 % less (Sapphire Rapids).
FEW_POSITIONS = 1024

# Bytes of a part's gates. With 2 MiB of second-level cache 0.75 to 2 MiB are alike within the 5 %
# by which runs differ, at widths of 64 and 128. In bf16 0.25 MiB take 7 and 14 % longer, 8 MiB at
# 128 10 %; float32 hardly minds. With 1 MiB (Zen 5) 4096 positions of 184 in float32 took 12 % less
# time in three parts than in one.
SMALL_CACHE_GATES, LARGE_CACHE_GATES = 2**20, 3 * 2**19


def add_feed_forward(
    x_BTD: Tensor,
    norm_D: Tensor,
    gate_up_FD: Tensor,
    down_DF: Tensor,
    eps: float,
    keep_BTD: Tensor | None = None,
) -> Tensor:
    """Return `x + down(swiglu(gate_up(rms_norm(x))))`.

    Args:
        x_BTD: The residual stream.
        norm_D: Scale of the norm.
        gate_up_FD: Both projections, gate first, shape (2F, D).
        down_DF: The projection back.
        eps: Of the norm.
        keep_BTD: Factors that dropout puts on the update; None: no dropout.
    """
    few = x_BTD.numel() <= FEW_POSITIONS * x_BTD.shape[-1]
    function = _AddFeedForward if few else _AddFeedForwardInParts
    return function.apply(x_BTD, norm_D, gate_up_FD, down_DF, keep_BTD, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch


class _AddFeedForward(torch.autograd.Function):
    """Keeps the sigmoid: its exponential costs more than all other passes over gates together."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, keep: Tensor, eps: float
    ) -> Tensor:
        x_MD, keep_MD = x.flatten(0, -2), None if keep is None else keep.flatten(0, -2)
        hidden, unit, scale = normed_product(x_MD, norm, gate_up, eps)
        gate, up = hidden.chunk(2, dim=-1)
        sigmoid = torch.sigmoid(gate)
        silu = gate.mul_(sigmoid)  # in the place of the gate
        product = silu * up
        ctx.save_for_backward(hidden, sigmoid, product, down, keep_MD, unit, scale, norm, gate_up)
        return add_product(x_MD, product, down, keep_MD).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        hidden, sigmoid, product, down, keep_MD, *normed = ctx.saved_tensors
        grad_out = grads[0].flatten(0, -2)
        grad_product, grad_down = product_backward(grad_out, product, down, keep_MD)
        silu, up = hidden.chunk(2, dim=-1)
        grad = torch.empty_like(hidden)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        torch.mul(grad_product, silu, out=grad_up)
        one = number(1.0, silu.dtype)
        slope = torch.lerp(silu, one, sigmoid)  # sigmoid + silu * (1 - sigmoid)
        torch.mul(slope.mul_(up), grad_product, out=grad_gate)
        grad_x, *rest = normed_product_backward(grad, *normed, residual=grad_out)
        return grad_x.view(grads[0].shape), *rest, grad_down, None, None


class _AddFeedForwardInParts(torch.autograd.Function):
    """Keeps gates and ups before any activation, and those in float32 alone.

    Computing them again takes 1 to 4 % more of a step's time in float32, 5 to 11 % less in bf16:
    matrix units make them faster than memory gives them back (Sapphire Rapids).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, keep: Tensor, eps: float
    ) -> Tensor:
        x_MD, keep_MD = x.flatten(0, -2), None if keep is None else keep.flatten(0, -2)
        unit, scale = unit_vectors(x_MD, eps)
        weights = _weights(norm, gate_up, down, unit.dtype)
        kept = _keeps_gates(unit)
        gates = unit.new_empty(2, len(unit), down.shape[1]) if kept else None
        out = torch.empty_like(x_MD)
        spare = _spare(2 if gates is None else 1, unit, down)
        for rows in _parts(unit, down):
            buffers = spare[:, : rows.stop - rows.start]
            into = buffers if gates is None else gates[:, rows]
            gate, up = _gate_and_up(unit[rows], weights, into)
            product = torch.ops.aten.silu.out(gate, out=buffers[0]).mul_(up)
            drop = None if keep_MD is None else keep_MD[rows]
            add_product(x_MD[rows], product, weights.down, drop, out=out[rows])
        ctx.save_for_backward(unit, scale, gates, norm, gate_up, down, keep_MD)
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        unit, scale, gates, norm, gate_up, down, keep_MD = ctx.saved_tensors
        weights = _weights(norm, gate_up, down, unit.dtype)
        grad_out = grads[0].flatten(0, -2)
        grad_x = torch.empty_like(grad_out)
        grad_scaled, grad_down = torch.zeros_like(gate_up), torch.zeros_like(down)
        grad_gate_rows, grad_up_rows = grad_scaled.chunk(2)
        spare = _spare(4 if gates is None else 3, unit, down)
        for rows in _parts(unit, down):
            part, residual = unit[rows], grad_out[rows]
            *more, first, second, third = spare[:, : len(part)]
            if gates is None:
                gate, up = _gate_and_up(part, weights, [*more, third])
            else:
                gate, up = gates[:, rows]
            buffers = first, second, third  # the last may hold `up`
            drop = None if keep_MD is None else keep_MD[rows]
            grad = update_gradient(residual, drop, unit.dtype)
            grad_gate, grad_up = _swiglu_backward(grad, gate, up, weights.down, grad_down, buffers)
            _add_product_of(grad_gate, part, grad_gate_rows)
            _add_product_of(grad_up, part, grad_up_rows)
            grad_unit = (grad_gate @ weights.gate).addmm_(grad_up, weights.up)
            unit_vectors_backward(grad_unit, part, scale[rows], residual, out=grad_x[rows])
        grad_norm, grad_gate_up = (grad_scaled * gate_up).sum(0), grad_scaled.mul_(norm)
        return grad_x.view(grads[0].shape), grad_norm, grad_gate_up, grad_down, None, None


class _Weights(NamedTuple):
    """Projections in the products' dtype, the norm's scale folded in."""

    gate: Tensor
    up: Tensor
    down: Tensor


def _weights(norm: Tensor, gate_up: Tensor, down: Tensor, dtype: torch.dtype) -> _Weights:
    gate, up = cast(gate_up * norm, dtype).chunk(2)
    return _Weights(gate, up, cast(down, dtype))


def _keeps_gates(unit: Tensor) -> bool:
    return unit.dtype == torch.float32


def _part_size(unit: Tensor, down: Tensor) -> int:
    """Return how many positions are worked on at once: parts are alike, but for the last one."""
    most = LARGE_CACHE_GATES if has_large_cache() else SMALL_CACHE_GATES
    count = math.ceil(len(unit) * down.shape[1] * unit.element_size() / most)
    return math.ceil(len(unit) / max(1, count))


def _parts(unit: Tensor, down: Tensor) -> list[slice]:
    size, end = _part_size(unit, down), len(unit)
    return [slice(start, min(start + size, end)) for start in range(0, end, size)]


def _spare(count: int, unit: Tensor, down: Tensor) -> Tensor:
    """Return buffers that each part writes anew: memory that is in the cache already."""
    return unit.new_empty(count, _part_size(unit, down), down.shape[1])


def _gate_and_up(unit: Tensor, weights: _Weights, into: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Two products: activations take three times as long in halves of one, which has gaps."""
    gate, up = into
    return torch.mm(unit, weights.gate.t(), out=gate), torch.mm(unit, weights.up.t(), out=up)


def _swiglu_backward(
    grad: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    grad_down: Tensor,
    buffers: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Add to the gradient of `down`; return those of gate and up, in buffers.

    The last buffer may be `up`, which is read last when that is written.
    """
    first, second, third = buffers
    silu = torch.ops.aten.silu.out(gate, out=first)
    _add_product_of(grad, torch.mul(silu, up, out=second), grad_down)
    grad_product = torch.mm(grad, down, out=second)
    grad_gate = torch.mul(grad_product, up, out=third)
    torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
    return grad_gate, grad_product.mul_(silu)


def _add_product_of(a_MI: Tensor, b_MJ: Tensor, total_IJ: Tensor) -> None:
    """Add `a.T @ b`; sums over parts are in float32."""
    if a_MI.dtype == total_IJ.dtype:
        total_IJ.addmm_(a_MI.t(), b_MJ)
    else:
        total_IJ += a_MI.t() @ b_MJ
