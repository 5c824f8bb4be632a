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
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        silu = F.silu(gate)
        ctx.save_for_backward(gate_up, silu)
        return silu * up

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gate_up, silu = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        grad = torch.empty_like(gate_up)
        grad_gate, grad_up = grad.chunk(2, dim=-1)
        torch.mul(grads[0], silu, out=grad_up)
        grad_gate.copy_(torch.ops.aten.silu_backward(grads[0] * up, gate))
        return grad


def rotary_table(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary angles, each of shape (length, head_dim / 2).

    Source: Su et al., "RoFormer", 2021, https://arxiv.org/abs/2104.09864.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / theta**exponent)
    return angles.cos(), angles.sin()


def split_heads(
    heads_BTNK: Tensor, n_head: int, cos_TK: Tensor, sin_TK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Split fused heads into rotated queries, rotated keys and values.

    Rotation turns each head's pairs (i, i + K/2) by the position's angle (the half-split layout).

    Args:
        heads_BTNK: N = H + 2G heads: queries, keys, values.
        n_head: H.
        cos_TK: Cosines, shape (T, K/2).
        sin_TK: Sines, shape (T, K/2).

    Returns:
        Queries (B, H, T, K), keys and values (B, G, T, K).
    """
    cos, sin = cos_TK[:, None, :], sin_TK[:, None, :]
    if torch.is_grad_enabled() and heads_BTNK.device.type == "cpu":
        return _SplitHeads.apply(heads_BTNK, n_head, cos, sin)  # type: ignore[no-any-return, no-untyped-call]  # untyped in torch
    n_kv_head = (heads_BTNK.shape[2] - n_head) // 2
    turning = n_head + n_kv_head
    first, second = heads_BTNK[:, :, :turning].float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    q, k = turned.to(heads_BTNK.dtype).transpose(1, 2).split([n_head, n_kv_head], dim=1)
    return q, k, heads_BTNK[:, :, turning:].transpose(1, 2)


class _SplitHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, heads: Tensor, n_head: int, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_kv_head = (heads.shape[2] - n_head) // 2
        ctx.n_head, ctx.n_kv_head = n_head, n_kv_head
        cos, sin = cos.to(heads.dtype), sin.to(heads.dtype)
        ctx.save_for_backward(cos, sin)
        out = torch.empty_like(heads)
        turning = n_head + n_kv_head
        _turn(heads[:, :, :turning], cos, sin, out[:, :, :turning])
        out[:, :, turning:].copy_(heads[:, :, turning:])
        q, k, v = out.split([n_head, n_kv_head, n_kv_head], dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        grad_q, grad_k, grad_v = (grad.transpose(1, 2) for grad in grads)
        size = (*grad_q.shape[:2], ctx.n_head + 2 * ctx.n_kv_head, grad_q.shape[3])
        grad = torch.empty(size, dtype=grad_q.dtype)
        q, k, v = grad.split([ctx.n_head, ctx.n_kv_head, ctx.n_kv_head], dim=2)
        _turn(grad_q, cos, -sin, q)
        _turn(grad_k, cos, -sin, k)
        v.copy_(grad_v)
        return grad, None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    first, second = x.chunk(2, dim=-1)
    out_first, out_second = out.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)


def attend(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, *, causal: bool, kernel: str) -> Tensor:
    """Softmax attention; G key/value heads each serve H / G query heads.

    Args:
        q_BHTK: Queries; the last query is at the last key's position.
        k_BGSK: Keys, S >= T of them.
        v_BGSK: Values.
        causal: Whether a query sees only keys up to its own position.
        kernel: `sdpa` (torch's fused kernel) or `bmm` (plain products, whose backward is
            the faster one for bf16 on a CPU).

    Returns:
        The mixed values, shape (B, H, T, K).
    """
    repeats = q_BHTK.shape[1] // k_BGSK.shape[1]
    if repeats > 1:
        k_BGSK = k_BGSK.repeat_interleave(repeats, dim=1)
        v_BGSK = v_BGSK.repeat_interleave(repeats, dim=1)
    length, seen = q_BHTK.shape[2], k_BGSK.shape[2]
    mask = causal_mask(length, seen, q_BHTK.device) if causal and length not in (1, seen) else None
    if kernel == "sdpa":
        whole = causal and length == seen and length > 1
        return F.scaled_dot_product_attention(
            q_BHTK, k_BGSK, v_BGSK, attn_mask=mask, is_causal=whole
        )
    if causal and length == seen and length > 1:
        mask = causal_mask(length, seen, q_BHTK.device)
    return _attend_bmm(q_BHTK, k_BGSK, v_BGSK, mask)


def causal_mask(length: int, seen: int, device: torch.device) -> Tensor:
    """Return a bool (length, seen) mask: True where a query may look."""
    return torch.ones(length, seen, dtype=torch.bool, device=device).tril_(seen - length)


def _attend_bmm(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v
