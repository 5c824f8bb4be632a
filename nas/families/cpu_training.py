"""Training steps of a pre-norm block on a CPU, with backward passes written by hand.

What a CPU loses outside its matrix products it loses to passes over memory and to calls. So a
whole sublayer, `x + f(norm(x))`, is one autograd function: the norm's weight is folded into the
projection's, scores are worked on in pieces that stay in the cache, and pairs of queries and keys
turn as complex numbers. The formulas are those of `ops`; `tests/benchmarks/training_step.py`
measures what this gains.

Under autocast products are in its dtype; norms, sums and the residual stream stay in float32.

Shapes: B batch, T sequence, M = B * T positions, D d_model, H query heads, G key/value heads,
N = H + 2G heads, K head_dim, P = K / 2 pairs, F d_ff. Z = H * B: heads of all examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.families.ops import causal_bias, rotary_angles

# Queries in a piece of attention, by the bytes of a score: later keys than its last query's are not
# multiplied at all. At 128 positions (32 x 4 heads of 16) in float32 64 take 11.1 ms where 32 take
# 12.6 and 128 take 14.0 (Zen 3); in bf16 128 take 9 to 16 % less time than 64 (Sapphire Rapids).
QUERY_BLOCKS = {4: 64, 2: 128}


class _Sizes(NamedTuple):
    """How much is worked on at once: what fits a cache is read and written fastest."""

    scores: int  # in a piece of attention
    positions: int  # in a part of the feed-forward


# With 1 MiB of second-level cache (Zen 5): scores of 1 MiB in float32, a quarter or four times of
# it take 27 to 60 % longer; 4096 positions in three parts take 12 % less time than in one.
SMALL_CACHE = _Sizes(scores=2**18, positions=1536)
# With 2 MiB and a large third level (Sapphire Rapids): 2**21 scores take 12 % less time in float32
# and 22 % in bf16 than 2**18; 4096 positions in one part take up to 26 % less than in three.
LARGE_CACHE = _Sizes(scores=2**21, positions=4096)
LARGE_CACHE_BYTES = 2 * 2**20

Grads = tuple[Tensor | None, ...]


@cache
def _sizes() -> _Sizes:
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return LARGE_CACHE if known.get("l2_cache_size", 0) >= LARGE_CACHE_BYTES else SMALL_CACHE


def trains_on_cpu(x: Tensor) -> bool:
    """Say whether the functions of this module apply."""
    return x.device.type == "cpu" and torch.is_grad_enabled()


def norm_project(x_BTD: Tensor, norm_D: Tensor, weight_ND: Tensor, eps: float) -> Tensor:
    """Return `rms_norm(x) @ weight.T`."""
    return _NormProject.apply(x_BTD, norm_D, weight_ND, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch


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
    weights = norm_D, gate_up_FD, down_DF
    count = math.ceil(x_BTD.numel() / x_BTD.shape[-1] / _sizes().positions)
    if count == 1:
        return _AddFeedForward.apply(x_BTD, *weights, keep_BTD, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch
    parts = x_BTD.flatten(0, -2).chunk(count)
    keeps = [None] * count if keep_BTD is None else keep_BTD.flatten(0, -2).chunk(count)
    added = [
        _AddFeedForward.apply(part, *weights, keep, eps)  # type: ignore[no-untyped-call]  # untyped in torch
        for part, keep in zip(parts, keeps, strict=False)  # fewer parts of very few positions
    ]
    return torch.cat(added).view(x_BTD.shape)


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


class _NormProject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, unit, scale = _norm_project(x, norm, weight, eps)
        ctx.save_for_backward(unit, scale, norm, weight)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        grad = grads[0].flatten(0, -2)
        grad_x, *grad_weights = _norm_project_backward(grad, *ctx.saved_tensors)
        return grad_x.view(*grads[0].shape[:-1], -1), *grad_weights, None


class _AddFeedForward(torch.autograd.Function):
    """Keeps the sigmoid: its exponential costs more than all other passes over gates together."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, keep: Tensor, eps: float
    ) -> Tensor:
        hidden, unit, scale = _norm_project(x, norm, gate_up, eps)
        gate, up = hidden.chunk(2, dim=-1)
        sigmoid = torch.sigmoid(gate)
        silu = gate.mul_(sigmoid)  # in the place of the gate
        product = silu * up
        ctx.save_for_backward(hidden, sigmoid, product, down, keep, unit, scale, norm, gate_up)
        return _add_product(x, product, down, keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        hidden, sigmoid, product, down, keep, *normed = ctx.saved_tensors
        grad_out = grads[0].flatten(0, -2)
        grad_product, grad_down = _product_backward(grad_out, product, down, keep)
        silu, up = hidden.chunk(2, dim=-1)
        grad = torch.empty_like(hidden)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        torch.mul(grad_product, silu, out=grad_up)
        slope = torch.lerp(
            silu, _number(1.0, silu.dtype), sigmoid
        )  # sigmoid + silu * (1 - sigmoid)
        torch.mul(slope.mul_(up), grad_product, out=grad_gate)
        grad_x, *rest = _norm_project_backward(grad, *normed, residual=grad_out)
        return grad_x.view(grads[0].shape), *rest, grad_down, None, None


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
        fused, unit, scale = _norm_project(x, norm, qkv.index_select(0, order), eps)
        q, k, v = _queries_keys_values(fused, ctx.sizes)
        mixed_ZTK, mixes = _attend(q, k, v)
        mixed = mixed_ZTK.view(n_head, batch, length, width).permute(1, 2, 0, 3)
        mixed = mixed.reshape(batch * length, n_head * width)
        ctx.save_for_backward(mixed, out, keep, unit, scale, norm, qkv, q, k, v, *mixes)
        return _add_product(x, mixed, out, keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        mixed, out, keep, unit, scale, norm, qkv, q, k, v, *mixes = ctx.saved_tensors
        batch, length, n_head, n_kv_head, width, _ = ctx.sizes
        grad_out = grads[0].flatten(0, -2)
        grad_mixed, grad_weight = _product_backward(grad_out, mixed, out, keep)
        grad_mixed = grad_mixed.view(batch, length, n_head, width).permute(2, 0, 1, 3)
        per_head = _attend_backward(grad_mixed.reshape(q.shape), q, k, v, mixes)
        grad = _fuse_gradients(per_head, ctx.sizes)
        order, back = _row_orders(n_head + n_kv_head, n_kv_head, width)
        grad_x, grad_norm, grad_qkv = _norm_project_backward(
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


def _norm_project(
    x: Tensor, norm: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the projection, the vectors of unit root mean square and what scaled them to it."""
    x_MD = x.flatten(0, -2)
    size = torch.linalg.vector_norm(x_MD, dim=-1, keepdim=True)
    scale = torch.addcmul(_number(eps, x.dtype), size, size, value=1 / x.shape[-1]).rsqrt_()
    dtype = _product_dtype(x)
    unit = _cast(x_MD * scale, dtype)
    return unit @ _cast(weight * norm, dtype).t(), unit, scale


def _norm_project_backward(
    grad: Tensor,
    unit: Tensor,
    scale: Tensor,
    norm: Tensor,
    weight: Tensor,
    *,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (with the residual stream's, if given), norm and weight."""
    grad_scaled = _cast(grad.t() @ unit, weight.dtype)
    grad_unit = _cast(grad @ _cast(weight * norm, grad.dtype), scale.dtype)
    unit = _cast(unit, scale.dtype)
    along = torch.linalg.vecdot(grad_unit, unit).unsqueeze_(-1)
    grad_x = grad_unit.addcmul_(unit, along, value=-1 / unit.shape[-1]).mul_(scale)
    if residual is not None:
        grad_x += residual
    return grad_x, (grad_scaled * weight).sum(0), grad_scaled.mul_(norm)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in a dtype; asking costs a tenth of a call that changes nothing."""
    return x if x.dtype == dtype else x.to(dtype)


@lru_cache(maxsize=8)
def _number(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def _product_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _add_product(x: Tensor, a: Tensor, weight: Tensor, keep: Tensor | None) -> Tensor:
    """Return `x + keep * (a @ weight.T)`."""
    if keep is None and a.dtype == x.dtype:
        return torch.addmm(x.reshape(-1, x.shape[-1]), a, weight.t()).view(x.shape)
    update = (a @ _cast(weight, a.dtype).t()).view(x.shape)
    return x + update if keep is None else torch.addcmul(x, _cast(update, x.dtype), keep)


def _product_backward(
    grad: Tensor, a: Tensor, weight: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `a` and `weight` in `_add_product`."""
    if keep is not None:
        grad = grad * keep.view(grad.shape)
    grad = _cast(grad, a.dtype)
    return grad @ _cast(weight, a.dtype), _cast(grad.t() @ a, weight.dtype)


def _queries_keys_values(fused: Tensor, sizes: _Heads) -> tuple[Tensor, ...]:
    """Return turned queries and keys, and values, each (Z, T, K)."""
    batch, length, n_head, n_kv_head, width, theta = sizes
    heads = fused.view(batch, length, -1, width).permute(2, 0, 1, 3)
    turning, v = heads.split([n_head + n_kv_head, n_kv_head])
    # One pass that casts and lays out; torch would do it in two.
    turned = turning.new_empty(turning.shape, dtype=torch.float32).copy_(turning)
    _turn(turned, _turning_factors(length, width, theta)[0])
    q, k = _cast(turned, fused.dtype).split([n_head, n_kv_head])
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
    turned = _cast(heads[:n_turning], torch.float32)
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


def _pieces(q_ZTK: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Yield heads, queries and the keys that these see, the latest queries of a head first."""
    count, length, _ = q_ZTK.shape
    block = QUERY_BLOCKS[q_ZTK.element_size()]
    step = max(1, _sizes().scores // (min(length, block) * length))
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
