"""The arithmetic that families share, in torch's ordinary operators.

`cpu_training` has the same for training on a CPU, with backward passes of its own.

Shapes: B batch, T sequence, D d_model, H query heads, G key/value heads, K head_dim, F d_ff.
"""

from __future__ import annotations

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


def attend(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    *,
    causal: bool,
    kernel: str = "sdpa",
    mask_BS: Tensor | None = None,
) -> Tensor:
    """Softmax attention; G key/value heads each serve H / G query heads.

    Args:
        q_BHTK: Queries; in causal attention the last query is at the last key's position.
        k_BGSK: Keys.
        v_BGSK: Values.
        causal: Whether a query sees only keys up to its own position.
        kernel: `sdpa` (torch's fused kernel) or `bmm` (plain products).
        mask_BS: 0 at keys that no query sees; None: all are seen. Each example needs one.

    Returns:
        The mixed values, shape (B, H, T, K).
    """
    k_BHSK, v_BHSK = (_repeat_heads(x, q_BHTK.shape[1]) for x in (k_BGSK, v_BGSK))
    length, seen = q_BHTK.shape[2], k_BHSK.shape[2]
    # While a graph is traced for export, a length is a symbol that a branch would fix.
    masked = causal and (torch.compiler.is_exporting() or length > 1)
    whole = masked and mask_BS is None and kernel == "sdpa" and bool(length == seen)
    bias = causal_bias(length, seen, q_BHTK) if masked and not whole else None
    if mask_BS is not None:
        padding = padding_bias(mask_BS, q_BHTK)
        bias = padding if bias is None else bias + padding
    if kernel == "bmm":
        scores = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BHSK.transpose(-1, -2)
        scores = scores if bias is None else scores + bias
        mix: Tensor = scores.softmax(dim=-1, dtype=torch.float32)
        return mix.to(v_BHSK.dtype) @ v_BHSK
    if torch.compiler.is_exporting() and bias is not None:
        bias = bias.expand(*q_BHTK.shape[:3], -1)  # or the kernel would ask whether S is 1
    return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=bias, is_causal=whole)


def attend_fused(
    qkv_BTN: Tensor,
    n_head: int,
    *,
    causal: bool,
    kernel: str = "sdpa",
    mask_BT: Tensor | None = None,
) -> Tensor:
    """Self-attention over fused projections.

    Args:
        qkv_BTN: Queries, keys and values beside each other, N = 3 * H * K.
        n_head: H.
        causal: As for `attend`.
        kernel: As for `attend`.
        mask_BT: As for `attend`.

    Returns:
        The mixed values of all heads beside each other, shape (B, T, H * K).
    """
    q, k, v = qkv_BTN.unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)
    mixed = attend(q, k, v, causal=causal, kernel=kernel, mask_BS=mask_BT)
    return mixed.transpose(1, 2).flatten(2)


def padding_bias(mask_BS: Tensor, like: Tensor) -> Tensor:
    """Return a (B, 1, 1, S) bias: 0 at tokens, minus infinity at padding."""
    bias = torch.zeros(mask_BS.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill_(mask_BS == 0, float("-inf"))[:, None, None]


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
