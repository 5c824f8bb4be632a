"""The Blenderbot encoder and decoder as a torch module whose state dict is the native one.

Shapes: B batch, S source tokens, T target tokens, D d_model, H heads, K head_dim, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.families.blenderbot.shape import BlenderbotShape
from nas.families.blocks import SelfAttention, draw_weights, drop
from nas.families.fused import FusedLinear
from nas.families.ops import attend
from nas.families.plain import PlainShape
from nas.records import TaskSpec

POSITION_STD = 0.02
LayerCache = tuple[Tensor, Tensor, Tensor, Tensor]  # own keys and values, the source's


class Attention(SelfAttention):
    """Self-attention with its projection back."""

    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__(d_model, n_head, ("q_proj", "k_proj", "v_proj"))
        self.out_proj = nn.Linear(d_model, d_model)

    def update(self, x_BTD: Tensor, mask_BT: Tensor | None, kernel: str, *, causal: bool) -> Tensor:
        """Return the residual update of whole sequences."""
        out: Tensor = self.out_proj(self(x_BTD, mask_BT, kernel, causal=causal))
        return out

    def step(
        self, x_BTD: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the update of the next positions, and all keys and values, (B, H, T, K)."""
        q, k, v = self.fused(x_BTD).unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        mixed = attend(q, k, v, causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), k, v


class CrossAttention(nn.Module):
    """Attention from target to source positions."""

    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.fused = FusedLinear(
            self, d_model, dict.fromkeys(("k_proj", "v_proj"), d_model), bias=True
        )
        self.q_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def keys_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the source's keys and values, each (B, H, S, K)."""
        heads = self.fused(memory_BSD).unflatten(-1, (2, self.n_head, -1))
        k, v = heads.permute(2, 0, 3, 1, 4)
        return k, v

    def update(
        self, x_BTD: Tensor, k: Tensor, v: Tensor, mask_BS: Tensor | None, kernel: str
    ) -> Tensor:
        """Return the residual update."""
        q_BHTK = self.q_proj(x_BTD).unflatten(-1, (self.n_head, -1)).transpose(1, 2)
        mixed = attend(q_BHTK, k, v, causal=False, kernel=kernel, mask_BS=mask_BS)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class EncoderBlock(nn.Module):
    """One encoder layer."""

    def __init__(self, shape: PlainShape) -> None:
        super().__init__()
        self.self_attn = Attention(shape.d_model, shape.n_head)
        self.self_attn_layer_norm = nn.LayerNorm(shape.d_model)
        self.fc1 = nn.Linear(shape.d_model, shape.d_ff)
        self.fc2 = nn.Linear(shape.d_ff, shape.d_model)
        self.final_layer_norm = nn.LayerNorm(shape.d_model)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None, kernel: str, share: float) -> Tensor:
        """Return the layer's output."""
        normed = self.self_attn_layer_norm(x_BTD)
        update = self.self_attn.update(normed, mask_BT, kernel, causal=False)
        return self.feed_forward(x_BTD + drop(update, share, self.training), share)

    def feed_forward(self, x_BTD: Tensor, share: float) -> Tensor:
        """Return the residual stream after the feed-forward."""
        update = self.fc2(F.gelu(self.fc1(self.final_layer_norm(x_BTD))))
        return x_BTD + drop(update, share, self.training)


class DecoderBlock(EncoderBlock):
    """One decoder layer: an encoder's, causal, with attention to the source."""

    def __init__(self, shape: PlainShape) -> None:
        super().__init__(shape)
        self.encoder_attn = CrossAttention(shape.d_model, shape.n_head)
        self.encoder_attn_layer_norm = nn.LayerNorm(shape.d_model)

    def decode(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor,
        mask_BS: Tensor | None,
        kernel: str,
        share: float,
    ) -> Tensor:
        """Return the layer's output for whole targets."""
        normed = self.self_attn_layer_norm(x_BTD)
        update = self.self_attn.update(normed, None, kernel, causal=True)
        x_BTD = x_BTD + drop(update, share, self.training)
        k, v = self.encoder_attn.keys_values(memory_BSD)
        normed = self.encoder_attn_layer_norm(x_BTD)
        update = self.encoder_attn.update(normed, k, v, mask_BS, kernel)
        return self.feed_forward(x_BTD + drop(update, share, self.training), share)

    def step(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor,
        mask_BS: Tensor | None,
        past: LayerCache | None,
    ) -> tuple[Tensor, LayerCache]:
        """Return the layer's output for the next positions, and what the next call needs."""
        update, k, v = self.self_attn.step(self.self_attn_layer_norm(x_BTD), past and past[:2])
        x_BTD = x_BTD + update
        theirs = past[2:] if past else self.encoder_attn.keys_values(memory_BSD)
        normed = self.encoder_attn_layer_norm(x_BTD)
        x_BTD = x_BTD + self.encoder_attn.update(normed, *theirs, mask_BS, "sdpa")
        return self.feed_forward(x_BTD, 0.0), (k, v, *theirs)


class _Side(nn.Module):
    """Positions, blocks and final norm of the encoder or the decoder."""

    def __init__(self, shape: PlainShape, spec: TaskSpec, kind: type[EncoderBlock]) -> None:
        super().__init__()
        self.embed_positions = nn.Embedding(spec.context, shape.d_model)
        self.layers = nn.ModuleList(kind(shape) for _ in range(shape.n_layer))
        self.layer_norm = nn.LayerNorm(shape.d_model)


class _Backbone(nn.Module):
    """Both sides and their shared embedding under the native prefix `model.`."""

    def __init__(self, shape: BlenderbotShape, spec: TaskSpec) -> None:
        super().__init__()
        self.shared = nn.Embedding(spec.vocab_size, shape.d_model)
        self.encoder = _Side(shape, spec, EncoderBlock)
        self.decoder = _Side(shape.decoder, spec, DecoderBlock)


class Blenderbot(nn.Module):
    """An encoder and a decoder that write a text for a text.

    Args:
        shape: A checked shape.
        spec: Vocabulary and longest context, of source and target each.

    Attributes:
        kernel: Attention kernel, `sdpa` or `bmm`.
        dropout: Share of each residual update that training drops; part of the recipe, not of
            the architecture.
    """

    final_logits_bias: Tensor

    def __init__(self, shape: BlenderbotShape, spec: TaskSpec) -> None:
        super().__init__()
        self.shape, self.spec = shape, spec
        self.kernel, self.dropout = "sdpa", 0.0
        self.model = _Backbone(shape, spec)
        # The native class has it as a buffer that is not trained.
        self.register_buffer("final_logits_bias", torch.zeros(1, spec.vocab_size))

    def forward(self, ids_BS: Tensor, mask_BS: Tensor | None, decoder_ids_BT: Tensor) -> Tensor:
        """Return the logits of each next target token, shape (B, T, V).

        Args:
            ids_BS: The source.
            mask_BS: 0 at its padding; None: there is none.
            decoder_ids_BT: The begin token and the target.
        """
        memory_BSD = self.encode(ids_BS, mask_BS)
        side = self.model.decoder
        x_BTD = self._embed(decoder_ids_BT, side, 0)
        for block in side.layers:
            assert isinstance(block, DecoderBlock)
            x_BTD = block.decode(x_BTD, memory_BSD, mask_BS, self.kernel, self.dropout)
        return self._logits(x_BTD)

    def encode(self, ids_BS: Tensor, mask_BS: Tensor | None) -> Tensor:
        """Return what the decoder attends to, shape (B, S, D)."""
        side = self.model.encoder
        x_BSD = self._embed(ids_BS, side, 0)
        for block in side.layers:
            x_BSD = block(x_BSD, mask_BS, self.kernel, self.dropout)
        memory: Tensor = side.layer_norm(x_BSD)
        return memory

    def step(
        self,
        decoder_ids_BT: Tensor,
        memory_BSD: Tensor,
        mask_BS: Tensor | None,
        past: list[LayerCache] | None,
    ) -> tuple[Tensor, list[LayerCache]]:
        """Return logits, (B, T, V), and what to hand to the next call.

        Args:
            decoder_ids_BT: The next target ids; with those before at most a context of them.
            memory_BSD: What `encode` returned.
            mask_BS: 0 at the source's padding; None: there is none.
            past: What the previous call returned; None at the beginning.
        """
        side, present = self.model.decoder, []
        x_BTD = self._embed(decoder_ids_BT, side, past[0][0].shape[2] if past else 0)
        for index, block in enumerate(side.layers):
            assert isinstance(block, DecoderBlock)
            before = past[index] if past else None
            x_BTD, kept = block.step(x_BTD, memory_BSD, mask_BS, before)
            present.append(kept)
        return self._logits(x_BTD), present

    def _embed(self, ids_BT: Tensor, side: _Side, start: int) -> Tensor:
        place_TD = side.embed_positions.weight[start : start + ids_BT.shape[1]]
        embedded: Tensor = self.model.shared(ids_BT)
        if self.shape.scale_embedding:
            embedded = embedded * self.shape.d_model**0.5
        return embedded + place_TD

    def _logits(self, x_BTD: Tensor) -> Tensor:
        x_BTD = self.model.decoder.layer_norm(x_BTD)
        return F.linear(x_BTD, self.model.shared.weight, self.final_logits_bias[0])

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights."""
        draw_weights(
            self,
            generator,
            zeroed=("out_proj", "fc2"),
            stds={"embed_positions": POSITION_STD},
        )

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        sides = (self.model.encoder.layers, self.model.decoder.layers)
        return [weight for side in sides for weight in side.parameters() if weight.ndim == 2]
