"""Attention of a pre-norm block in training on a CPU, with a backward pass written by hand.

Scores are worked on in pieces that stay in the cache, and pairs of queries and keys turn as complex
numbers. The formulas are those of `ops`.

Shapes: B batch, T sequence, M = B * T positions, D d_model, H query heads, G key/value heads,
N = H + 2G heads, K head_dim, P = K / 2 pairs. Z = H * B: heads of all examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
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
    product_backward,
)
from nas.families.ops import causal_bias, rotary_angles

# Queries in a piece of attention, by the bytes of a score: later keys than its last query's are not
# multiplied at all. At 128 positions (32 x 4 heads of 16) in float32 64 take 11.1 ms where 32 take
# 12.6 and 128 take 14.0 (Zen 3); in bf16 128 take 9 to 16 % less time than 64 (Sapphire Rapids).
QUERY_BLOCKS = {4: 64, 2: 128}


# Scores in a piece: what fits a cache is read and written fastest. With 1 MiB of second-level cache
# (Zen 5) 1 MiB of them in float32; a quarter or four times of it take 27 to 60 % longer. With 2 MiB
# and a large third level (Sapphire Rapids) 2**21 scores take 12 % less time in float32 and 22 % in
# bf16 than 2**18.
SMALL_CACHE_SCORES, LARGE_CACHE_SCORES = 2**18, 2**21


def add_attention(
    x_BTD: Tensor,
    norm_D: Tensor,
    qkv_ND: Tensor,
    out_DH: Tensor,
    n_head: int,
    theta: float,
    eps: float,
    keep_BTD: Tensor | None = None,
) -> Tensor:
    """Return `x + out(attention(rms_norm(x)))`, causal, with rotary positions.

    Args:
        x_BTD: The residual stream.
        norm_D: Scale of the norm.
        qkv_ND: Projections to H + 2G heads, shape (N * K, D): queries, keys, values.
        out_DH: The projection back, shape (D, H * K).
        n_head: H.
        theta: Base of the positions' angles (see `ops.rotary_angles`).
        eps: Of the norm.
        keep_BTD: Factors that dropout puts on the update; None: no dropout.
    """
    return _AddAttention.apply(x_BTD, norm_D, qkv_ND, out_DH, keep_BTD, n_head, theta, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch


class _Heads(NamedTuple):
    """The sizes of attention and the base of its rotation."""

    batch: int
    length: int
    n_head: int
    n_kv_head: int
    width: int
    theta: float


class _AddAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Tensor,
        qkv: Tensor,
        out: Tensor,
        keep: Tensor,
        n_head: int,
        theta: float,
        eps: float,
    ) -> Tensor:
        batch, length, _ = x.shape
        width = out.shape[1] // n_head
        n_kv_head = (len(qkv) // width - n_head) // 2
        ctx.sizes = _Heads(batch, length, n_head, n_kv_head, width, theta)
        order, _ = _row_orders(n_head + n_kv_head, n_kv_head, width)
        fused, unit, scale = normed_product(x, norm, qkv.index_select(0, order), eps)
        q, k, v = _queries_keys_values(fused, ctx.sizes)
        mixed_ZTK, mixes = _attend(q, k, v)
        mixed = mixed_ZTK.view(n_head, batch, length, width).permute(1, 2, 0, 3)
        mixed = mixed.reshape(batch * length, n_head * width)
        keep_MD = None if keep is None else keep.flatten(0, -2)
        ctx.save_for_backward(mixed, out, keep_MD, unit, scale, norm, qkv, q, k, v, *mixes)
        return add_product(x.flatten(0, -2), mixed, out, keep_MD).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        mixed, out, keep_MD, unit, scale, norm, qkv, q, k, v, *mixes = ctx.saved_tensors
        batch, length, n_head, n_kv_head, width, _ = ctx.sizes
        grad_out = grads[0].flatten(0, -2)
        grad_mixed, grad_weight = product_backward(grad_out, mixed, out, keep_MD)
        grad_mixed = grad_mixed.view(batch, length, n_head, width).permute(2, 0, 1, 3)
        per_head = _attend_backward(grad_mixed.reshape(q.shape), q, k, v, mixes)
        grad = _fuse_gradients(per_head, ctx.sizes)
        order, back = _row_orders(n_head + n_kv_head, n_kv_head, width)
        grad_x, grad_norm, grad_qkv = normed_product_backward(
            grad, unit, scale, norm, qkv.index_select(0, order), residual=grad_out
        )
        grad_x = grad_x.view(grads[0].shape)
        return (
            grad_x,
            grad_norm,
            grad_qkv.index_select(0, back),
            grad_weight,
            None,
            None,
            None,
            None,
        )


def _queries_keys_values(fused: Tensor, sizes: _Heads) -> tuple[Tensor, ...]:
    """Return turned queries and keys, and values, each (Z, T, K)."""
    batch, length, n_head, n_kv_head, width, theta = sizes
    heads = fused.view(batch, length, -1, width).permute(2, 0, 1, 3)
    turning, v = heads.split([n_head + n_kv_head, n_kv_head])
    # One pass that casts and lays out; torch would do it in two.
    turned = turning.new_empty(turning.shape, dtype=torch.float32).copy_(turning)
    _turn(turned, _turning_factors(length, width, theta)[0])
    q, k = cast(turned, fused.dtype).split([n_head, n_kv_head])
    if n_kv_head < n_head:
        k, v = (x.repeat_interleave(n_head // n_kv_head, dim=0) for x in (k, v))
    return q.flatten(0, 1), k.flatten(0, 1), v.reshape(-1, length, width)


def _fuse_gradients(grads_3ZTK: Tensor, sizes: _Heads) -> Tensor:
    """Return the gradient of the fused heads, (M, N * K)."""
    batch, length, n_head, n_kv_head, width, theta = sizes
    heads = grads_3ZTK.view(3 * n_head, batch, length, width)
    if n_kv_head < n_head:
        copies = heads[n_head:].unflatten(0, (2 * n_kv_head, -1))
        heads = torch.cat((heads[:n_head], copies.sum(1)))
    n_turning = n_head + n_kv_head
    turned = cast(heads[:n_turning], torch.float32)
    _turn(turned, _turning_factors(length, width, theta)[1])
    fused = heads.new_empty(batch, length, len(heads), width)
    by_head = fused.permute(2, 0, 1, 3)
    by_head[:n_turning].copy_(turned)  # casts and lays out in one pass
    by_head[n_turning:].copy_(heads[n_turning:])
    return fused.view(batch * length, -1)


@lru_cache(maxsize=64)
def _row_orders(turning: int, n_kv_head: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the order of a projection's rows that makes pairs neighbours, and the way back.

    Neighbours turn as complex numbers, in one pass over contiguous memory. Rows come in the
    half-split layout: pair p is (p, p + K / 2). Only queries and keys turn.
    """
    rows = torch.arange((turning + n_kv_head) * width)
    turned, values = rows.split([turning * width, n_kv_head * width])
    turned = turned.view(turning, 2, width // 2).transpose(1, 2).flatten()
    order = torch.cat((turned, values))
    return order, order.argsort()


@lru_cache(maxsize=8)
def _turning_factors(length: int, width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return complex factors, (T, P), that turn queries and keys, and those of their gradients.

    Their size is the fourth root of 1 / K, so that a score comes out divided by sqrt(K).
    """
    angles = rotary_angles(length, width, theta)
    factors = torch.polar(torch.full_like(angles, width**-0.25), angles)
    return factors, factors.conj_physical()


def _turn(heads: Tensor, factors_TP: Tensor) -> None:
    """Multiply neighbouring pairs, as complex numbers, in place."""
    torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2)).mul_(factors_TP)


def _scores_at_once() -> int:
    return LARGE_CACHE_SCORES if has_large_cache() else SMALL_CACHE_SCORES


def _pieces(q_ZTK: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Yield heads, queries and the keys that these see, the latest queries of a head first."""
    count, length, _ = q_ZTK.shape
    block = QUERY_BLOCKS[q_ZTK.element_size()]
    step = max(1, _scores_at_once() // (min(length, block) * length))
    for head in range(0, count, step):
        for query in reversed(range(0, length, block)):
            end = min(query + block, length)
            yield slice(head, min(head + step, count)), slice(query, end), slice(0, end)


def _part(x: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return `x[rows, columns]`; for all of it without the calls that cut."""
    size = rows.stop - rows.start, columns.stop - columns.start
    return x if size == x.shape[:2] else x[rows, columns]


@lru_cache(maxsize=8)
def _causal_bias(length: int, dtype: torch.dtype) -> Tensor:
    return causal_bias(length, length, torch.empty((), dtype=dtype))


def _attend(q_ZTK: Tensor, k_ZTK: Tensor, v_ZTK: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the mixed values, (Z, T, K), and each piece's weights."""
    bias = _causal_bias(q_ZTK.shape[1], q_ZTK.dtype)
    mixed, mixes = torch.empty_like(q_ZTK), []
    for heads, queries, keys in _pieces(q_ZTK):
        q, k = _part(q_ZTK, heads, queries), _part(k_ZTK, heads, keys)
        mix = torch.baddbmm(_part(bias, queries, keys), q, k.transpose(1, 2)).softmax(dim=-1)
        _bmm_into(_part(mixed, heads, queries), mix, _part(v_ZTK, heads, keys))
        mixes.append(mix)
    return mixed, mixes


def _attend_backward(
    grad_ZTK: Tensor, q_ZTK: Tensor, k_ZTK: Tensor, v_ZTK: Tensor, mixes: Sequence[Tensor]
) -> Tensor:
    """Return the gradients of queries, keys and values, (3, Z, T, K)."""
    grads = q_ZTK.new_empty(3, *q_ZTK.shape)
    grad_q, grad_k, grad_v = grads
    pieces = _pieces(q_ZTK)
    for mix, (heads, queries, keys) in zip(mixes, pieces, strict=True):
        grad, q = _part(grad_ZTK, heads, queries), _part(q_ZTK, heads, queries)
        grad_mix = torch.bmm(grad, _part(v_ZTK, heads, keys).transpose(1, 2))
        scores = torch._softmax_backward_data(grad_mix, mix, -1, mix.dtype)
        later = keys.stop < q_ZTK.shape[1]  # a piece that saw all keys was there before
        _bmm_into(_part(grad_q, heads, queries), scores, _part(k_ZTK, heads, keys))
        _bmm_into(_part(grad_k, heads, keys), scores.transpose(1, 2), q, add=later)
        _bmm_into(_part(grad_v, heads, keys), mix.transpose(1, 2), grad, add=later)
    return grads


def _bmm_into(target: Tensor, a: Tensor, b: Tensor, *, add: bool = False) -> None:
    """Write or add a product; torch multiplies fast into contiguous memory only."""
    if add:
        target += torch.bmm(a, b)
    elif target.is_contiguous():
        torch.bmm(a, b, out=target)
    else:
        target.copy_(torch.bmm(a, b))
