"""Modules that families with biases and layer norms share.

Shapes: B batch, T sequence, D d_model, H heads, K head_dim.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.families.fused import FusedLinear
from nas.families.ops import attend_fused

# Of the embeddings at the beginning (see `llama.module`).
EMBEDDING_STD = 0.1
CLASSIFIER_STD = 0.02


class SelfAttention(nn.Module):
    """Attention over fused projections with biases, without the projection back.

    Args:
        d_model: Width of input and output.
        n_head: Heads.
        names: Native names of the projections to queries, keys and values.
    """

    def __init__(self, d_model: int, n_head: int, names: tuple[str, str, str]) -> None:
        super().__init__()
        self.n_head = n_head
        self.fused = FusedLinear(self, d_model, dict.fromkeys(names, d_model), bias=True)

    def forward(
        self, x_BTD: Tensor, mask_BT: Tensor | None, kernel: str, *, causal: bool = False
    ) -> Tensor:
        """Return the mixed values of all heads, (B, T, D)."""
        return attend_fused(
            self.fused(x_BTD), self.n_head, causal=causal, kernel=kernel, mask_BT=mask_BT
        )


class Dense(nn.Module):
    """A linear layer under the native name `dense`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        out: Tensor = self.dense(x)
        return out


def drop(update_BTD: Tensor, share: float, training: bool) -> Tensor:
    """Return a residual update with a share of it dropped while training."""
    return F.dropout(update_BTD, share, training) if share else update_BTD


def draw_weights(
    network: nn.Module,
    generator: torch.Generator,
    *,
    zeroed: tuple[str, ...],
    stds: Mapping[str, float],
) -> None:
    """Draw fresh weights: matrices with standard deviation `n_in ** -0.5`, embeddings 0.1.

    Args:
        network: On the CPU.
        generator: The same state gives the same weights.
        zeroed: Ends of the names of modules whose matrices begin at zero: projections back into
            the residual stream, so that blocks begin as the identity (see `llama.module`).
        stds: Standard deviations of modules and parameters by the end of their name.
    """
    for name, weight in network.named_parameters():
        module = network.get_submodule(name.rpartition(".")[0])
        path = name.removesuffix(".weight")
        std = next((value for end, value in stds.items() if path.endswith(end)), None)
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(weight)
        elif path.endswith(zeroed):
            nn.init.zeros_(weight)
        elif std is not None:
            nn.init.normal_(weight, std=std, generator=generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(weight, std=EMBEDDING_STD, generator=generator)
        else:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)
