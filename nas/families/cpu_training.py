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

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from nas.families.ops import causal_bias

# Queries in a piece of attention: later keys than its last query's are not multiplied at all.
# At 128 positions 64 take 11.1 ms where 32 take 12.6 and 128 take 14.0 (32 x 4 heads of 16).
QUERY_BLOCK = 64
# Scores in a piece, 1 MiB of float32; a quarter or four times of it is 10 to 30 % slower.
PIECE_SCORES = 2**18

Grads = tuple[Tensor | None, ...]


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
    return _AddFeedForward.apply(x_BTD, norm_D, gate_up_FD, down_DF, keep_BTD, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch


def add_attention(
    x_BTD: Tensor,
    norm_D: Tensor,
    qkv_ND: Tensor,
    out_DH: Tensor,
    angles_TP: Tensor,
    n_head: int,
    eps: float,
    keep_BTD: Tensor | None = None,
) -> Tensor:
    """Return `x + out(attention(rms_norm(x)))`, causal, with rotary positions.

    Args:
        x_BTD: The residual stream.
        norm_D: Scale of the norm.
        qkv_ND: Projections of H + 2G heads, shape (N * K, D); queries and keys in neighbouring
            pairs.
        out_DH: The projection back, shape (D, H * K).
        angles_TP: The positions' angles.
        n_head: H.
        eps: Of the norm.
        keep_BTD: Factors that dropout puts on the update; None: no dropout.
    """
    return _AddAttention.apply(x_BTD, norm_D, qkv_ND, out_DH, angles_TP, keep_BTD, n_head, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch


class _NormProject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, *saved = _norm_project(x, norm, weight, eps)
        ctx.save_for_backward(*saved, norm, weight)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        unit, scale, norm, weight = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        grad_x, *grad_weights = _norm_project_backward(grad, unit, scale, norm, weight)
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
        ctx.save_for_backward(unit, scale, hidden, sigmoid, product, norm, gate_up, down, keep)
        return _add_product(x, product, down, keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        unit, scale, hidden, sigmoid, product, norm, gate_up, down, keep = ctx.saved_tensors
        grad_out = grads[0].reshape(-1, down.shape[0])
        grad_product, grad_down = _product_backward(grad_out, product, down, keep)
        silu, up = hidden.chunk(2, dim=-1)
        grad = torch.empty_like(hidden)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        torch.mul(grad_product, silu, out=grad_up)
        slope = torch.lerp(silu, silu.new_ones(()), sigmoid)  # sigmoid + silu * (1 - sigmoid)
        torch.mul(slope.mul_(up), grad_product, out=grad_gate)
        grad_x, *rest = _norm_project_backward(grad, unit, scale, norm, gate_up, grad_out)
        return grad_x.view(grads[0].shape), *rest, grad_down, None, None


class _AddAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: Tensor,
        qkv: Tensor,
        out: Tensor,
        angles: Tensor,
        keep: Tensor,
        n_head: int,
        eps: float,
    ) -> Tensor:
        width = 2 * angles.shape[1]
        fused, unit, scale = _norm_project(x, norm, qkv, eps)
        heads = fused.view(*x.shape[:2], -1, width).permute(2, 0, 1, 3)
        q, k, v = _queries_keys_values(heads, n_head, angles)
        mixed, mixes = _attend(q, k, v)
        mixed = mixed.view(n_head, *x.shape[:2], width).permute(1, 2, 0, 3)
        mixed = mixed.reshape(-1, n_head * width)
        ctx.save_for_backward(unit, scale, mixed, norm, qkv, out, angles, keep, q, k, v, *mixes)
        ctx.n_head = n_head
        return _add_product(x, mixed, out, keep)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Grads:
        unit, scale, mixed, norm, qkv, out, angles, keep, q, k, v, *mixes = ctx.saved_tensors
        batch, length, d_model = grads[0].shape
        n_head, width = ctx.n_head, q.shape[2]
        grad_out = grads[0].reshape(-1, d_model)
        grad_mixed, grad_weight = _product_backward(grad_out, mixed, out, keep)
        grad_mixed = grad_mixed.view(batch, length, n_head, width).permute(2, 0, 1, 3)
        per_head = _attend_backward(grad_mixed.reshape(q.shape), q, k, v, mixes)
        n_kv_head = (qkv.shape[0] // width - n_head) // 2
        grad = _fuse_gradients(per_head, (n_head, n_kv_head, n_kv_head), batch, angles)
        grad_x, *rest = _norm_project_backward(grad, unit, scale, norm, qkv, grad_out)
        return grad_x.view(grads[0].shape), *rest, grad_weight, None, None, None, None


def _norm_project(
    x: Tensor, norm: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the projection, the vectors of unit root mean square and what scaled them to it."""
    x_MD = x.reshape(-1, x.shape[-1])
    size = torch.linalg.vector_norm(x_MD, dim=-1, keepdim=True)
    scale = torch.addcmul(size.new_tensor(eps), size, size, value=1 / x.shape[-1]).rsqrt_()
    dtype = _product_dtype(x)
    unit = (x_MD * scale).to(dtype)
    return unit @ (weight * norm).to(dtype).t(), unit, scale


def _norm_project_backward(
    grad: Tensor,
    unit: Tensor,
    scale: Tensor,
    norm: Tensor,
    weight: Tensor,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x (with the residual stream's, if given), norm and weight."""
    inner = (grad.t() @ unit).to(weight.dtype)
    grad_unit = (grad @ (weight * norm).to(grad.dtype)).float()
    unit = unit.float()
    along = torch.linalg.vecdot(grad_unit, unit).div_(-unit.shape[-1]).unsqueeze_(-1)
    grad_x = grad_unit.addcmul_(unit, along).mul_(scale)
    if residual is not None:
        grad_x += residual
    return grad_x, (inner * weight).sum(0), inner.mul_(norm)


def _product_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _add_product(x: Tensor, a: Tensor, weight: Tensor, keep: Tensor | None) -> Tensor:
    """Return `x + keep * (a @ weight.T)`."""
    if keep is None and a.dtype == x.dtype:
        return torch.addmm(x.reshape(-1, x.shape[-1]), a, weight.t()).view(x.shape)
    update = (a @ weight.to(a.dtype).t()).view(x.shape)
    return x + update if keep is None else torch.addcmul(x, update.to(x.dtype), keep)


def _product_backward(
    grad: Tensor, a: Tensor, weight: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `a` and `weight` in `_add_product`."""
    if keep is not None:
        grad = grad * keep.view(grad.shape)
    grad = grad.to(a.dtype)
    return grad @ weight.to(a.dtype), (grad.t() @ a).to(weight.dtype)


def _queries_keys_values(
    heads_NBTK: Tensor, n_head: int, angles_TP: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return turned and scaled queries, turned keys and values, each (Z, T, K)."""
    n_kv_head = (len(heads_NBTK) - n_head) // 2
    heads = heads_NBTK.float().contiguous()
    q, k, _ = parts = heads.split([n_head, n_kv_head, n_kv_head])
    _turn(q, angles_TP, q.shape[-1] ** -0.5)
    _turn(k, angles_TP)
    repeated = (
        part.repeat_interleave(n_head // len(part), dim=0) if len(part) < n_head else part
        for part in parts
    )
    q, k, v = (part.to(heads_NBTK.dtype).flatten(0, 1) for part in repeated)
    return q, k, v


def _fuse_gradients(
    per_head: Sequence[Tensor], counts: Sequence[int], batch: int, angles_TP: Tensor
) -> Tensor:
    """Return the gradient of the fused heads, (M, N * K), from that of each (Z, T, K)."""
    _, length, width = per_head[0].shape
    fused = per_head[0].new_empty(batch, length, sum(counts), width)
    sizes = (width**-0.5, 1.0, None)  # values do not turn
    for grad, into, size in zip(per_head, fused.split(list(counts), dim=2), sizes, strict=True):
        copies = grad.view(into.shape[2], -1, batch, length, width)
        part = copies.squeeze(1) if copies.shape[1] == 1 else copies.sum(1)
        if size is not None:
            part = _turn(part.float(), -angles_TP, size)
        into.copy_(part.permute(1, 2, 0, 3))
    return fused.view(batch * length, -1)


def _turn(heads: Tensor, angles_TP: Tensor, size: float = 1.0) -> Tensor:
    """Multiply neighbouring pairs in place, as complex numbers, by `size` at their angles."""
    pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2)))
    pairs.mul_(torch.polar(torch.full_like(angles_TP, size), angles_TP))
    return heads


def _pieces(count: int, length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield heads, queries and the keys that these see, the latest queries of a head first."""
    step = max(1, PIECE_SCORES // (min(length, QUERY_BLOCK) * length))
    for head in range(0, count, step):
        for query in reversed(range(0, length, QUERY_BLOCK)):
            end = min(query + QUERY_BLOCK, length)
            yield slice(head, head + step), slice(query, end), slice(end)


def _attend(q_ZTK: Tensor, k_ZTK: Tensor, v_ZTK: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the mixed values, (Z, T, K), and each piece's weights."""
    bias = causal_bias(q_ZTK.shape[1], q_ZTK.shape[1], q_ZTK)
    mixed, mixes = torch.empty_like(q_ZTK), []
    for heads, queries, keys in _pieces(*q_ZTK.shape[:2]):
        k = k_ZTK[heads, keys].transpose(1, 2)
        mix = torch.baddbmm(bias[queries, keys], q_ZTK[heads, queries], k).softmax(dim=-1)
        _bmm_into(mixed[heads, queries], mix, v_ZTK[heads, keys])
        mixes.append(mix)
    return mixed, mixes


def _attend_backward(
    grad_ZTK: Tensor, q_ZTK: Tensor, k_ZTK: Tensor, v_ZTK: Tensor, mixes: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values."""
    grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q_ZTK, k_ZTK, v_ZTK))
    pieces = _pieces(*q_ZTK.shape[:2])
    for mix, (heads, queries, keys) in zip(mixes, pieces, strict=True):
        grad = grad_ZTK[heads, queries]
        grad_mix = torch.bmm(grad, v_ZTK[heads, keys].transpose(1, 2))
        scores = torch._softmax_backward_data(grad_mix, mix, -1, mix.dtype)
        first = keys.stop == q_ZTK.shape[1]  # of its heads: it sees all keys
        _bmm_into(grad_q[heads, queries], scores, k_ZTK[heads, keys])
        _bmm_into(grad_k[heads, keys], scores.transpose(1, 2), q_ZTK[heads, queries], add=not first)
        _bmm_into(grad_v[heads, keys], mix.transpose(1, 2), grad, add=not first)
    return grad_q, grad_k, grad_v


def _bmm_into(target: Tensor, a: Tensor, b: Tensor, *, add: bool = False) -> None:
    """Write or add a product; torch multiplies fast into contiguous memory only."""
    if add:
        target += torch.bmm(a, b)
    elif target.is_contiguous():
        torch.bmm(a, b, out=target)
    else:
        target.copy_(torch.bmm(a, b))
