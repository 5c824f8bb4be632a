"""The Llama decoder as a torch module whose state dict is the native one.

Query/key/value and gate/up projections run fused, one product instead of three or two, and are
written and read under transformers' names.

Shapes: B batch, T sequence, D d_model, H query heads, G key/value heads, K head_dim, F d_ff,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.families.cpu_attention import add_attention
from nas.families.cpu_decoding import (
    append,
    attend_one,
    decodes_on_cpu,
    rms_normed,
    rotate_one,
    turn_of,
)
from nas.families.cpu_feed_forward import add_feed_forward
from nas.families.cpu_training import norm_project, trains_on_cpu
from nas.families.fused import FusedLinear
from nas.families.llama.shape import LlamaShape
from nas.families.ops import (
    attend,
    rms_norm,
    rotary_angles,
    split_heads,
    swiglu,
)
from nas.records import TaskSpec

LayerCache = tuple[Tensor, Tensor]

# Of the embeddings at the beginning. Loss on tinyshakespeare after 0.77M tokens (4 layers of 128,
# 8 sequences of 64 a step): 1.845 with 0.02 and scaled projections back, 1.753 with 0.1 and zero
# ones, 1.773 with 0.2.
EMBEDDING_STD = 0.1


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return rms_norm(x_BTD, self.weight, self.eps)


class Attention(nn.Module):
    """Causal grouped-query self-attention with rotary positions."""

    def __init__(self, shape: LlamaShape, layer: int) -> None:
        super().__init__()
        self.n_head, self.head_dim, self.theta = shape.n_head, shape.head_size, shape.rope_theta
        width, kv_width = (n * self.head_dim for n in (self.n_head, shape.kv_heads[layer]))
        parts = {"q_proj": width, "k_proj": kv_width, "v_proj": kv_width}
        self.fused = FusedLinear(self, shape.d_model, parts)
        self.o_proj = nn.Linear(width, shape.d_model, bias=False)

    def forward(self, x_BTD: Tensor, angles_TP: Tensor, kernel: str) -> Tensor:
        """Mix the positions of whole sequences."""
        heads = self.fused(x_BTD).unflatten(-1, (-1, self.head_dim))
        q, k, v = split_heads(heads, self.n_head, angles_TP)
        mixed = attend(q, k, v, causal=True, kernel=kernel)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def add_to(self, x_BTD: Tensor, norm: RMSNorm, keep_BTD: Tensor | None) -> Tensor:
        """Return `x + forward(norm(x))` by the `bmm` kernel, for training on a CPU."""
        fused, out = self.fused.weight, self.o_proj.weight
        return add_attention(
            x_BTD, norm.weight, fused, out, self.n_head, self.theta, norm.eps, keep_BTD
        )

    def step(
        self, x_BTD: Tensor, angles_TP: Tensor, past: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """Mix the next positions with `past` keys and values, each (B, G, S, K)."""
        heads = self.fused(x_BTD).unflatten(-1, (-1, self.head_dim))
        q, k, v = split_heads(heads, self.n_head, angles_TP)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        mixed = attend(q, k, v, causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), (k, v)

    def add_next(
        self, x_D: Tensor, norm: RMSNorm, turn: tuple[Tensor, Tensor], past: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """Return `x + step(norm(x))` of one position, and all keys and values so far."""
        product = torch.mv(self.fused.weight, rms_normed(x_D, norm.weight, norm.eps))
        heads = product.view(-1, self.head_dim)
        last = len(heads) - (len(heads) - self.n_head) // 2  # of queries and keys
        turned = rotate_one(heads[:last], turn)
        k = append(past and past[0], turned[self.n_head :])
        v = append(past and past[1], heads[last:])
        mixed = attend_one(turned[: self.n_head], k, v)
        return torch.addmv(x_D, self.o_proj.weight, mixed), (k, v)


class FeedForward(nn.Module):
    """The SwiGLU feed-forward."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.fused = FusedLinear(self, d_model, {"gate_proj": d_ff, "up_proj": d_ff})
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map each position on its own."""
        out: Tensor = self.down_proj(swiglu(self.fused(x_BTD)))
        return out

    def add_to(self, x_BTD: Tensor, norm: RMSNorm, keep_BTD: Tensor | None) -> Tensor:
        """Return `x + forward(norm(x))`, for training on a CPU."""
        fused, down = self.fused.weight, self.down_proj.weight
        return add_feed_forward(x_BTD, norm.weight, fused, down, norm.eps, keep_BTD)

    def add_next(self, x_D: Tensor, norm: RMSNorm) -> Tensor:
        """Return `x + forward(norm(x))` of one position."""
        product = torch.mv(self.fused.weight, rms_normed(x_D, norm.weight, norm.eps))
        gate, up = product.chunk(2)
        return torch.addmv(x_D, self.down_proj.weight, F.silu(gate).mul_(up))


class Block(nn.Module):
    """One decoder layer: attention, then feed-forward, each normalised before and added."""

    def __init__(self, shape: LlamaShape, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(shape, layer)
        self.mlp = FeedForward(shape.d_model, shape.ff_widths[layer])
        self.input_layernorm = RMSNorm(shape.d_model, shape.norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.d_model, shape.norm_eps)

    def forward(self, x_BTD: Tensor, angles_TP: Tensor, kernel: str, drop: float) -> Tensor:
        """Return the layer's output for whole sequences."""
        drop = drop if self.training else 0.0
        on_cpu = trains_on_cpu(x_BTD)
        if on_cpu and kernel == "bmm":
            keep = _keep_factors(x_BTD, drop)
            x_BTD = self.self_attn.add_to(x_BTD, self.input_layernorm, keep)
        else:
            mixed = self.self_attn(self.input_layernorm(x_BTD), angles_TP, kernel)
            x_BTD = x_BTD + F.dropout(mixed, drop)
        if on_cpu:
            return self.mlp.add_to(x_BTD, self.post_attention_layernorm, _keep_factors(x_BTD, drop))
        update = self.mlp(self.post_attention_layernorm(x_BTD))
        return x_BTD + F.dropout(update, drop)

    def step(
        self, x_BTD: Tensor, angles_TP: Tensor, past: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """Return the layer's output for the next positions, and all keys and values so far."""
        mixed, present = self.self_attn.step(self.input_layernorm(x_BTD), angles_TP, past)
        x_BTD = x_BTD + mixed
        return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD)), present

    def step_one(
        self, x_D: Tensor, turn: tuple[Tensor, Tensor], past: LayerCache | None
    ) -> tuple[Tensor, LayerCache]:
        """Return what `step` does of one position of one text on a CPU."""
        x_D, present = self.self_attn.add_next(x_D, self.input_layernorm, turn, past)
        return self.mlp.add_next(x_D, self.post_attention_layernorm), present


def _keep_factors(x_BTD: Tensor, drop: float) -> Tensor | None:
    return F.dropout(torch.ones_like(x_BTD), drop) if drop else None


class _Backbone(nn.Module):
    """Embedding, blocks and final norm under the native prefix `model.`."""

    def __init__(self, shape: LlamaShape, vocab_size: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Block(shape, layer) for layer in range(shape.n_layer))
        self.norm = RMSNorm(shape.d_model, shape.norm_eps)


class Llama(nn.Module):
    """A Llama language model.

    Args:
        shape: A checked shape.
        spec: Vocabulary and longest context.

    Attributes:
        kernel: Attention kernel, `sdpa` or `bmm`.
        dropout: Share of each residual update that training drops; part of the recipe, not of
            the architecture.
    """

    def __init__(self, shape: LlamaShape, spec: TaskSpec) -> None:
        super().__init__()
        self.shape, self.spec = shape, spec
        self.kernel, self.dropout = "sdpa", 0.0
        self.model = _Backbone(shape, spec.vocab_size)
        if not shape.tied:
            self.lm_head = nn.Linear(shape.d_model, spec.vocab_size, bias=False)
        self._angles = rotary_angles(spec.context, shape.head_size, shape.rope_theta)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits of each next token, shape (B, T, V)."""
        x_BTD = self.model.embed_tokens(ids_BT)
        angles_TP = self._angles_at(0, ids_BT.shape[1], x_BTD.device)
        for block in self.model.layers:
            x_BTD = block(x_BTD, angles_TP, self.kernel, self.dropout)
        if trains_on_cpu(x_BTD):
            norm = self.model.norm
            return norm_project(x_BTD, norm.weight, self.output_weight, norm.eps)
        return F.linear(self.model.norm(x_BTD), self.output_weight)

    def step(
        self, ids_BT: Tensor, past: list[LayerCache] | None
    ) -> tuple[Tensor, list[LayerCache]]:
        """Return logits and the keys and values to hand to the next call.

        Args:
            ids_BT: The next token ids.
            past: What the previous call returned; None at the beginning.
        """
        start = past[0][0].shape[2] if past else 0
        x_BTD = self.model.embed_tokens(ids_BT)
        angles_TP = self._angles_at(start, ids_BT.shape[1], x_BTD.device)
        if decodes_on_cpu(x_BTD):
            return self._step_one(x_BTD.flatten(), angles_TP, past)
        present = []
        for index, block in enumerate(self.model.layers):
            assert isinstance(block, Block)
            x_BTD, kept = block.step(x_BTD, angles_TP, past[index] if past else None)
            present.append(kept)
        return F.linear(self.model.norm(x_BTD), self.output_weight), present

    def _step_one(
        self, x_D: Tensor, angles_1P: Tensor, past: list[LayerCache] | None
    ) -> tuple[Tensor, list[LayerCache]]:
        turn, present, norm = turn_of(angles_1P), [], self.model.norm
        for index, block in enumerate(self.model.layers):
            assert isinstance(block, Block)
            x_D, kept = block.step_one(x_D, turn, past[index] if past else None)
            present.append(kept)
        logits_V = torch.mv(self.output_weight, rms_normed(x_D, norm.weight, norm.eps))
        return logits_V[None, None], present

    @property
    def output_weight(self) -> Tensor:
        """The output layer's weights, shape (V, D)."""
        weight = self.model.embed_tokens.weight if self.shape.tied else self.lm_head.weight
        assert isinstance(weight, Tensor)
        return weight

    def fill_tables(self) -> None:
        """Compute the angles of the whole context, which a traced graph cannot do later."""
        self._grow(self.spec.context, self.output_weight.device)

    def _angles_at(self, start: int, length: int, device: torch.device) -> Tensor:
        end = start + length
        if not torch.compiler.is_exporting():  # there a length is a symbol, and tables are full
            self._grow(end, device)
        return self._angles[start:end]

    def _grow(self, end: int, device: torch.device) -> None:
        """Have the angles of so many positions at least on the device."""
        if len(self._angles) < end or self._angles.device != device:
            longest = max(end, min(2 * end, self.spec.context))
            with torch.inference_mode(False):  # training may read them later
                angles = rotary_angles(longest, self.shape.head_size, self.shape.rope_theta)
            self._angles = angles.to(device)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights.

        Blocks begin as the identity: their projections back into the residual stream are zero
        (Zhang et al., "Fixup Initialization", 2019, https://arxiv.org/abs/1901.09321).
        """
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                nn.init.ones_(weight)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            else:
                outer = "embed" in name or "lm_head" in name
                std = EMBEDDING_STD if outer else weight.shape[1] ** -0.5
                nn.init.normal_(weight, std=std, generator=generator)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        layers = self.model.layers
        return [weight for weight in layers.parameters() if weight.ndim == 2]


def pad_state(shape: LlamaShape, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of `shape.uniform()` that computes exactly the same function.

    Feed-forward columns are added as zeros: a zero gate makes a zero product. Key/value heads are
    repeated: each copy serves fewer query heads, with the same keys and values.
    """
    target = shape.uniform()
    padded = dict(state)
    for layer, (d_ff, kv) in enumerate(zip(shape.ff_widths, shape.kv_heads, strict=True)):
        prefix, extra = f"model.layers.{layer}.", target.ff_widths[0] - d_ff
        for name, pad in (
            ("gate_proj", (0, 0, 0, extra)),
            ("up_proj", (0, 0, 0, extra)),
            ("down_proj", (0, extra)),
        ):
            key = f"{prefix}mlp.{name}.weight"
            padded[key] = F.pad(state[key], pad).contiguous()
        for name in ("k_proj", "v_proj"):
            key = f"{prefix}self_attn.{name}.weight"
            heads = state[key].view(kv, shape.head_size, -1)
            copies = heads.repeat_interleave(target.kv_heads[0] // kv, dim=0)
            padded[key] = copies.reshape(-1, state[key].shape[1]).contiguous()
    return padded
