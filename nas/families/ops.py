"""The arithmetic that families share, in torch's ordinary operators.

`cpu_training` has the same for training on a CPU, with backward passes of its own.

Shapes: B batch, T sequence, D d_model, H query heads, G key/value heads, K head_dim, F d_ff.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

KERNELS = ("bmm", "sdpa")  # the one expected to be faster for training on a CPU first


def rms_norm(x_BTD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Scale each vector to unit root mean square, then by `weight_D`.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """
    return F.rms_norm(x_BTD, (x_BTD.shape[-1],), weight_D.to(x_BTD.dtype), eps)


def swiglu(gate_up_BTF2: Tensor) -> Tensor:
    """Return `silu(gate) * up` of the last dimension's two halves.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020.
    """
    gate, up = gate_up_BTF2.chunk(2, dim=-1)
    return F.silu(gate) * up


def rotary_angles(length: int, head_dim: int, theta: float) -> Tensor:
    """Return the angles by which pair p of a head turns at each position, (length, head_dim / 2).

    Source: Su et al., "RoFormer", 2021, https://arxiv.org/abs/2104.09864.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    return torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / theta**exponent)


def rotate(x_BTHK: Tensor, angles_TP: Tensor) -> Tensor:
    """Turn each head's pairs (p, p + K/2) by the position's angle p: the half-split layout."""
    cos, sin = angles_TP.cos()[:, None], angles_TP.sin()[:, None]
    first, second = x_BTHK.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x_BTHK.dtype)


def join_rows(parts: Sequence[Tensor]) -> Tensor:
    """Put matrices below each other: a view where they lie so in memory already, else a copy.

    A stored model's parts lie so, which is why a mapped file is loaded without reading it.
    """
    first, end = parts[0], parts[0].data_ptr()
    memory = first.untyped_storage().data_ptr()
    for part in parts:
        beside = part.untyped_storage().data_ptr() == memory and part.data_ptr() == end
        if not beside or not part.is_contiguous() or part.device.type == "meta":
            return torch.cat(list(parts))
        end += part.numel() * part.element_size()
    rows = sum(len(part) for part in parts)
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))


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
        mix: Tensor = scores.softmax(dim=-1, dtype=torch.float32)
        return mix.to(v_BHSK.dtype) @ v_BHSK
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


def split_heads(
    heads_BTNK: Tensor, n_head: int, angles_TP: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotated queries (B, H, T, K), rotated keys and values (B, G, T, K)."""
    n_kv_head = (heads_BTNK.shape[2] - n_head) // 2
    turned = rotate(heads_BTNK[:, :, : n_head + n_kv_head], angles_TP).transpose(1, 2)
    q, k = turned.split([n_head, n_kv_head], dim=1)
    return q, k, heads_BTNK[:, :, n_head + n_kv_head :].transpose(1, 2)
