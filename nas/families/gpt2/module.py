"""The GPT-2 decoder as a torch module whose state dict is the native one.

Matrices are stored transposed, as the native class has them.

Shapes: B batch, T sequence, S keys so far, D d_model, H heads, K head_dim, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.families.blocks import draw_weights, drop
from nas.families.cpu_decoding import append, attend_one, decodes_on_cpu
from nas.families.gpt2.shape import Gpt2Shape
from nas.families.ops import attend, attend_fused
from nas.records import TaskSpec

LayerCache = tuple[Tensor, Tensor]


class Projection(nn.Module):
    """A linear layer whose weight is stored as (n_in, n_out)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        return F.linear(x, self.weight.t(), self.bias)

    def of_one(self, x: Tensor) -> Tensor:
        """Map a single vector (see `families.cpu_decoding`)."""
        return torch.addmv(self.bias, self.weight.t(), x)


class Attention(nn.Module):
    """Causal self-attention with its projection back."""

    def __init__(self, shape: Gpt2Shape) -> None:
        super().__init__()
        self.n_head = shape.n_head
        self.c_attn = Projection(shape.d_model, 3 * shape.d_model)
        self.c_proj = Projection(shape.d_model, shape.d_model)

    def forward(self, x_BTD: Tensor, kernel: str) -> Tensor:
        """Return the residual update of whole sequences."""
        mixed = attend_fused(self.c_attn(x_BTD), self.n_head, causal=True, kernel=kernel)
        out: Tensor = self.c_proj(mixed)
        return out

    def step(self, x_BTD: Tensor, past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Return the residual update of the next positions, and all keys and values so far."""
        heads = self.c_attn(x_BTD).unflatten(-1, (3, self.n_head, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        mixed = attend(q, k, v, causal=True)
        return self.c_proj(mixed.transpose(1, 2).flatten(2)), (k, v)

    def step_one(self, x_D: Tensor, past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Return what `step` does of one position of one text on a CPU."""
        q_HK, k_HK, v_HK = self.c_attn.of_one(x_D).view(3, self.n_head, -1)
        k, v = append(past and past[0], k_HK), append(past and past[1], v_HK)
        return self.c_proj.of_one(attend_one(q_HK, k, v)), (k, v)


class FeedForward(nn.Module):
    """Two matrices with the tanh form of GELU between them."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.c_fc = Projection(d_model, d_ff)
        self.c_proj = Projection(d_ff, d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map each position on its own."""
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x_BTD), approximate="tanh"))
        return out

    def step_one(self, x_D: Tensor) -> Tensor:
        """Map one position of one text on a CPU."""
        return self.c_proj.of_one(F.gelu(self.c_fc.of_one(x_D), approximate="tanh"))


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Gpt2Shape) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)
        self.attn = Attention(shape)
        self.ln_2 = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)
        self.mlp = FeedForward(shape.d_model, shape.d_ff)

    def forward(self, x_BTD: Tensor, kernel: str, share: float) -> Tensor:
        """Return the layer's output for whole sequences."""
        x_BTD = x_BTD + drop(self.attn(self.ln_1(x_BTD), kernel), share, self.training)
        return x_BTD + drop(self.mlp(self.ln_2(x_BTD)), share, self.training)

    def step(self, x_BTD: Tensor, past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Return the layer's output for the next positions, and all keys and values so far."""
        update, present = self.attn.step(self.ln_1(x_BTD), past)
        x_BTD = x_BTD + update
        return x_BTD + self.mlp(self.ln_2(x_BTD)), present

    def step_one(self, x_D: Tensor, past: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Return what `step` does of one position of one text on a CPU."""
        update, present = self.attn.step_one(self.ln_1(x_D), past)
        x_D = x_D + update
        return x_D + self.mlp.step_one(self.ln_2(x_D)), present


class _Backbone(nn.Module):
    """Embeddings, blocks and final norm under the native prefix `transformer.`."""

    def __init__(self, shape: Gpt2Shape, spec: TaskSpec) -> None:
        super().__init__()
        self.wte = nn.Embedding(spec.vocab_size, shape.d_model)
        self.wpe = nn.Embedding(spec.context, shape.d_model)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)


class Gpt2(nn.Module):
    """A GPT-2 language model.

    Args:
        shape: A checked shape.
        spec: Vocabulary and longest context.

    Attributes:
        kernel: Attention kernel, `sdpa` or `bmm`.
        dropout: Share of each residual update that training drops; part of the recipe, not of
            the architecture.
    """

    def __init__(self, shape: Gpt2Shape, spec: TaskSpec) -> None:
        super().__init__()
        self.shape, self.spec = shape, spec
        self.kernel, self.dropout = "sdpa", 0.0
        self.transformer = _Backbone(shape, spec)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of each next token, shape (B, T, V)."""
        x_BTD = self._embed(ids_BT, 0)
        for block in self.transformer.h:
            x_BTD = block(x_BTD, self.kernel, self.dropout)
        return F.linear(self.transformer.ln_f(x_BTD), self.transformer.wte.weight)

    def step(
        self, ids_BT: Tensor, past: list[LayerCache] | None
    ) -> tuple[Tensor, list[LayerCache]]:
        """Return logits and the keys and values to hand to the next call.

        Args:
            ids_BT: The next token ids; with those before at most a context of them.
            past: What the previous call returned; None at the beginning.
        """
        x_BTD = self._embed(ids_BT, past[0][0].shape[2] if past else 0)
        if decodes_on_cpu(x_BTD):
            return self._step_one(x_BTD.flatten(), past)
        present = []
        for index, block in enumerate(self.transformer.h):
            assert isinstance(block, Block)
            x_BTD, kept = block.step(x_BTD, past[index] if past else None)
            present.append(kept)
        return F.linear(self.transformer.ln_f(x_BTD), self.transformer.wte.weight), present

    def _step_one(
        self, x_D: Tensor, past: list[LayerCache] | None
    ) -> tuple[Tensor, list[LayerCache]]:
        present = []
        for index, block in enumerate(self.transformer.h):
            assert isinstance(block, Block)
            x_D, kept = block.step_one(x_D, past[index] if past else None)
            present.append(kept)
        logits_V = torch.mv(self.transformer.wte.weight, self.transformer.ln_f(x_D))
        return logits_V[None, None], present

    def _embed(self, ids_BT: Tensor, start: int) -> Tensor:
        place_TD = self.transformer.wpe.weight[start : start + ids_BT.shape[1]]
        embedded: Tensor = self.transformer.wte(ids_BT) + place_TD
        return embedded

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights."""
        stds = {"c_attn": self.shape.d_model**-0.5, "c_fc": self.shape.d_model**-0.5}
        draw_weights(self, generator, zeroed=("c_proj",), stds=stds)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        return [weight for weight in self.transformer.h.parameters() if weight.ndim == 2]
