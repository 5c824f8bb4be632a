"""The arithmetic that families share, written so that a CPU makes few passes over memory.

The custom backward passes below save less and touch memory less often than autograd's own. They
are used where gradients are wanted; without gradients the plain formula runs, so that exporters
trace ordinary operators.

Shapes: B batch, T sequence, D d_model, H query heads, G key/value heads, K head_dim, F d_ff.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

KERNELS = ("sdpa", "bmm")


def rms_norm(x_BTD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Scale each vector to unit root mean square, then by `weight_D`.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """
    if torch.is_grad_enabled() and x_BTD.device.type == "cpu":
        return _RMSNorm.apply(x_BTD, weight_D, eps)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch
    return F.rms_norm(x_BTD, (x_BTD.shape[-1],), weight_D.to(x_BTD.dtype), eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        scale = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
        scale = scale.square_().div_(flat.shape[-1]).add_(eps).rsqrt_()
        unit = flat * scale
        ctx.save_for_backward(unit, scale, weight)
        return (unit * weight).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, scale, weight = ctx.saved_tensors
        grad = grads[0].reshape(unit.shape)
        grad_unit = grad * unit
        grad_weight = grad_unit.sum(0)
        mean = (grad_unit @ weight).div_(unit.shape[-1]).unsqueeze_(-1)
        grad_x = grad * weight
        grad_x.addcmul_(unit, mean, value=-1).mul_(scale)
        return grad_x.view(grads[0].shape), grad_weight, None


def swiglu(gate_up_BTF2: Tensor) -> Tensor:
    """Return `silu(gate) * up` of the last dimension's two halves.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020.
    """
    if torch.is_grad_enabled() and gate_up_BTF2.device.type == "cpu":
        return _SwiGLU.apply(gate_up_BTF2)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch
    gate, up = gate_up_BTF2.chunk(2, dim=-1)
    return F.silu(gate) * up


class _SwiGLU(torch.autograd.Function):
    """Saves the sigmoid: on a CPU its exponential costs more than all the products together."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        ctx.save_for_backward(gate_up, sigmoid, silu)
        return silu * up

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gate_up, sigmoid, silu = ctx.saved_tensors
        up = gate_up.chunk(2, dim=-1)[1]
        grad = torch.empty_like(gate_up)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        torch.mul(grads[0], silu, out=grad_up)
        slope = torch.addcmul(silu, silu, sigmoid, value=-1).add_(sigmoid)
        torch.mul(slope.mul_(up), grads[0], out=grad_gate)
        return grad


def rotary_angles(length: int, head_dim: int, theta: float) -> Tensor:
    """Return the angles by which pair p of a head turns at each position, (length, head_dim / 2).

    Source: Su et al., "RoFormer", 2021, https://arxiv.org/abs/2104.09864.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    return torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / theta**exponent)


def rotate(x_BTHK: Tensor, angles_TP: Tensor) -> Tensor:
    """Turn each head's neighbouring pairs (2p, 2p + 1) by the position's angle p."""
    cos, sin = angles_TP.cos()[:, None], angles_TP.sin()[:, None]
    even, odd = x_BTHK.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1)
    return turned.flatten(-2).to(x_BTHK.dtype)


def interleave_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """Reorder each head's rows from the half-split layout (p, p + K/2) to neighbouring pairs."""
    return rows.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def separate_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """Undo `interleave_pairs`."""
    return rows.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)


def attend(
    q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, *, causal: bool, kernel: str = "sdpa"
) -> Tensor:
    """Softmax attention; G key/value heads each serve H / G query heads.

    Args:
        q_BHTK: Queries; the last query is at the last key's position.
        k_BGSK: Keys, S >= T of them.
        v_BGSK: Values.
        causal: Whether a query sees only keys up to its own position.
        kernel: `sdpa` (torch's fused kernel) or `bmm` (plain products).

    Returns:
        The mixed values, shape (B, H, T, K).
    """
    k_BHSK, v_BHSK = (_repeat_heads(x, q_BHTK.shape[1]) for x in (k_BGSK, v_BGSK))
    length, seen = q_BHTK.shape[2], k_BHSK.shape[2]
    masked = causal and length > 1
    if kernel == "bmm":
        scores = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BHSK.transpose(-1, -2)
        if masked:
            scores = scores + causal_bias(length, seen, scores)
        return scores.softmax(dim=-1, dtype=torch.float32).to(v_BHSK.dtype) @ v_BHSK
    whole = masked and length == seen
    bias = causal_bias(length, seen, q_BHTK) if masked and not whole else None
    return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=bias, is_causal=whole)


def _repeat_heads(x_BGSK: Tensor, n_head: int) -> Tensor:
    repeats = n_head // x_BGSK.shape[1]
    return x_BGSK if repeats == 1 else x_BGSK.repeat_interleave(repeats, dim=1)


def causal_bias(length: int, seen: int, like: Tensor) -> Tensor:
    """Return a (length, seen) bias: 0 where a query may look, minus infinity elsewhere."""
    bias = torch.full((length, seen), float("-inf"), dtype=like.dtype, device=like.device)
    return bias.triu_(seen - length + 1)


def rotary_self_attention(
    heads_BTNK: Tensor, n_head: int, angles_TP: Tensor, *, kernel: str
) -> Tensor:
    """Rotate queries and keys of fused heads and attend causally, for training.

    Args:
        heads_BTNK: N = H + 2G heads: queries, keys (both in neighbouring pairs), values.
        n_head: H.
        angles_TP: The positions' angles, P = K/2.
        kernel: As for `attend`.

    Returns:
        The mixed values, shape (B, T, H * K).
    """
    if kernel == "bmm" and heads_BTNK.device.type == "cpu" and torch.is_grad_enabled():
        turn = _turning_factors(angles_TP, heads_BTNK.shape[2], n_head)
        return _RotaryAttention.apply(heads_BTNK, n_head, turn)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch
    q, k, v = split_heads(heads_BTNK, n_head, angles_TP)
    return attend(q, k, v, causal=True, kernel=kernel).transpose(1, 2).flatten(2)


def split_heads(
    heads_BTNK: Tensor, n_head: int, angles_TP: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotated queries (B, H, T, K), rotated keys and values (B, G, T, K)."""
    n_kv_head = (heads_BTNK.shape[2] - n_head) // 2
    turned = rotate(heads_BTNK[:, :, : n_head + n_kv_head], angles_TP).transpose(1, 2)
    q, k = turned.split([n_head, n_kv_head], dim=1)
    return q, k, heads_BTNK[:, :, n_head + n_kv_head :].transpose(1, 2)


def _turning_factors(angles_TP: Tensor, heads: int, n_head: int) -> Tensor:
    """Return a complex factor for each pair of the fused heads, shape (T, N * P); values keep."""
    n_kv_head = (heads - n_head) // 2
    angles = torch.cat([angles_TP] * (n_head + n_kv_head), dim=1)
    angles = F.pad(angles, (0, n_kv_head * angles_TP.shape[1]))
    return torch.polar(torch.ones_like(angles), angles)


class _RotaryAttention(torch.autograd.Function):
    """Rotation, grouped heads and causal attention with one backward pass of their own.

    A pair of neighbours times a complex number is a rotation: one pass over contiguous memory
    turns all heads. On a CPU with fp32 the whole takes about half the time of torch's fused
    kernel at 64 tokens; its backward is the fast one for bf16 too.
    """

    @staticmethod
    def forward(ctx: Any, heads: Tensor, n_head: int, turn: Tensor) -> Tensor:
        batch, length, total, width = heads.shape
        n_kv_head = (total - n_head) // 2
        parts = [n_head, n_kv_head, n_kv_head]
        split = _turn(heads, turn).split(parts, dim=2)
        q, k, v = (_by_head(x, n_head) for x in split)
        scores = torch.baddbmm(
            causal_bias(length, length, q), q, k.transpose(1, 2), alpha=width**-0.5
        )
        mix = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        ctx.save_for_backward(q, k, v, mix, turn)
        ctx.parts, ctx.shape = parts, heads.shape
        mixed = torch.bmm(mix, v).view(batch, n_head, length, width)
        return mixed.transpose(1, 2).reshape(batch, length, n_head * width)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, mix, turn = ctx.saved_tensors
        batch, length, _, width = ctx.shape
        grad_out = _by_head(grads[0].view(batch, length, -1, width), ctx.parts[0])
        grad_v = torch.bmm(mix.transpose(1, 2), grad_out)
        grad_mix = torch.bmm(grad_out, v.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(
            grad_mix.float(), mix.float(), -1, torch.float32
        ).to(q.dtype)
        none, scale = q.new_empty(()), width**-0.5
        grad_q = torch.baddbmm(none, grad_scores, k, beta=0, alpha=scale)
        grad_k = torch.baddbmm(none, grad_scores.transpose(1, 2), q, beta=0, alpha=scale)
        grad = torch.empty(ctx.shape, dtype=q.dtype)
        for part, into in zip((grad_q, grad_k, grad_v), grad.split(ctx.parts, dim=2), strict=True):
            repeats = ctx.parts[0] // into.shape[2]
            heads = part.view(batch, into.shape[2], repeats, length, width)
            summed = heads.sum(2) if repeats > 1 else heads.squeeze(2)
            into.copy_(summed.transpose(1, 2))
        return _turn(grad, turn.conj_physical()), None, None


def _turn(heads_BTNK: Tensor, turn_TQ: Tensor) -> Tensor:
    """Multiply neighbouring pairs, as complex numbers, by their factors."""
    pairs = heads_BTNK.float().view(*heads_BTNK.shape[:2], -1, 2)
    turned = torch.view_as_complex(pairs) * turn_TQ
    return torch.view_as_real(turned).view(heads_BTNK.shape).to(heads_BTNK.dtype)


def _by_head(x_BTGK: Tensor, n_head: int) -> Tensor:
    """Return (B * H, T, K): heads as a batch, each of the G repeated for its queries."""
    batch, length, groups, width = x_BTGK.shape
    x = x_BTGK.transpose(1, 2).unsqueeze(2)
    x = x.expand(batch, groups, n_head // groups, length, width)
    return x.reshape(batch * n_head, length, width)
