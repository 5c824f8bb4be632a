"""One token after a cache on a CPU: products of a matrix and a vector, and few calls.

Such a step reads every weight once and computes little, so that it costs the reading and the calls.
torch's product with a vector (`mv`) reads a matrix about 10 % faster than its general one, adds the
residual stream on the way, and needs no reshaping. `tests/benchmarks/generation.py` measures it.

Shapes: D d_model, N numbers of a product, H query heads, G key/value heads, K head_dim, S keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def decodes_on_cpu(x_BTD: Tensor) -> bool:
    """Say whether this is one token of one text, and the functions of this module apply."""
    return (
        x_BTD.numel() == x_BTD.shape[-1]
        and x_BTD.device.type == "cpu"
        and x_BTD.dtype == torch.float32
        and not torch.is_grad_enabled()
    )


def rms_normed(x_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """Return what `ops.rms_norm` does of one vector."""
    scale = (float(torch.dot(x_D, x_D)) / len(x_D) + eps) ** -0.5
    return (x_D * weight_D).mul_(scale)


def turn_of(angles_1P: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of a head and of its swapped halves that `rotate_one` takes, each (K,)."""
    cos, sin = angles_1P[0].cos(), angles_1P[0].sin()
    return torch.cat((cos, cos)), torch.cat((-sin, sin))


def rotate_one(heads_NK: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Return what `ops.rotate` does of one position's heads."""
    own_K, swapped_K = turn
    swapped_NK = heads_NK.roll(heads_NK.shape[1] // 2, 1)
    return torch.addcmul(heads_NK * own_K, swapped_NK, swapped_K)


def attend_one(q_HK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor) -> Tensor:
    """Return softmax attention of one position over all keys, shape (H * K,).

    Query heads that share keys pass as positions of one head: no head is repeated.
    """
    q_BGRK = q_HK.view(1, k_BGSK.shape[1], -1, q_HK.shape[1])
    return F.scaled_dot_product_attention(q_BGRK, k_BGSK, v_BGSK).flatten()


def append(past_BGSK: Tensor | None, new_GK: Tensor) -> Tensor:
    """Return keys or values with those of one more position, shape (1, G, S + 1, K)."""
    new_BG1K = new_GK[None, :, None]
    return new_BG1K if past_BGSK is None else torch.cat((past_BGSK, new_BG1K), dim=2)
