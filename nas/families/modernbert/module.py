"""The ModernBERT classifier as a torch module whose state dict is the native one.

A local layer works on blocks of queries, each against the keys of its own block and the two beside
it, so that work and memory grow with the length and not with its square.

Shapes: B batch, T sequence, D d_model, F d_ff, H heads, K head_dim, C classes, N blocks, Q queries
of a block, S = 3 * Q its keys.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.families.blocks import CLASSIFIER_STD, draw_weights, drop
from nas.families.modernbert.shape import (
    ModernBertShape,
    local_block,
    local_scores,
)
from nas.families.ops import attend, rotary_angles, rotate
from nas.records import TaskSpec


class Norm(nn.LayerNorm):
    """A layer norm without bias."""

    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__(shape.d_model, eps=shape.norm_eps, bias=False)


class Attention(nn.Module):
    """Self-attention over all tokens or a window, with its projection back."""

    def __init__(self, shape: ModernBertShape, layer: int) -> None:
        super().__init__()
        self.n_head = shape.n_head
        self.window = 0 if layer % shape.global_every == 0 else shape.window
        self.Wqkv = nn.Linear(shape.d_model, 3 * shape.d_model, bias=False)
        self.Wo = nn.Linear(shape.d_model, shape.d_model, bias=False)

    def forward(
        self, x_BTD: Tensor, angles_TP: Tensor, mask_BT: Tensor | None, kernel: str
    ) -> Tensor:
        """Return the residual update."""
        heads = self.Wqkv(x_BTD).unflatten(-1, (3 * self.n_head, -1))
        turned = rotate(heads[:, :, : 2 * self.n_head], angles_TP).transpose(1, 2)
        q, k = turned.chunk(2, dim=1)
        # A copy: a view would keep queries and keys from before their turn for the backward pass.
        v = heads[:, :, 2 * self.n_head :].transpose(1, 2)
        v = v.clone(memory_format=torch.contiguous_format)  # `contiguous` would branch on lengths
        if not self.window or self._sees_all(x_BTD.shape[1]):
            mixed = attend(q, k, v, causal=False, kernel=kernel, mask_BS=mask_BT)
        else:
            mixed = attend_window(q, k, v, self.window, mask_BT)
        out: Tensor = self.Wo(mixed.transpose(1, 2).flatten(2))
        return out

    def _sees_all(self, length: int) -> bool:
        return not torch.compiler.is_exporting() and self.window // 2 >= length - 1


def attend_window(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, window: int, mask_BT: Tensor | None
) -> Tensor:
    """Softmax attention in which a token sees those at most `window // 2` away, and itself.

    Args:
        q_BHTK: Queries.
        k_BHTK: Keys.
        v_BHTK: Values.
        window: Tokens seen, half on each side.
        mask_BT: 0 at padding, which only itself sees; None: there is none.

    Returns:
        The mixed values, shape (B, H, T, K).
    """
    length = q_BHTK.shape[2]
    block = int(local_block(window))
    if torch.compiler.is_exporting():  # a length is a symbol, and so would the blocks' count be
        seen = _seen(length, window, mask_BT, q_BHTK.device).expand(*q_BHTK.shape[:3], -1)
        return F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, attn_mask=seen)
    if local_scores(window, length) == length * length:
        return _mix(q_BHTK, k_BHTK, v_BHTK, _seen(length, window, mask_BT, q_BHTK.device))
    count = math.ceil(length / block)
    spare = count * block - length
    q_BHNQK = F.pad(q_BHTK, (0, 0, 0, spare)).unflatten(2, (count, block))
    k_BHNSK, v_BHNSK = (_three_blocks(x, block, spare) for x in (k_BHTK, v_BHTK))
    seen = _seen_in_blocks(length, block, count, window, mask_BT, q_BHTK.device)
    mixed = _mix(q_BHNQK, k_BHNSK, v_BHNSK, seen).flatten(2, 3)
    return mixed[:, :, :length]


def _mix(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Return softmax attention with the scores where `seen` is false left out."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    bias = torch.zeros(seen.shape, dtype=scores.dtype, device=scores.device)
    scores = scores + bias.masked_fill_(~seen, float("-inf"))
    mix: Tensor = scores.softmax(dim=-1, dtype=torch.float32)
    return mix.to(v.dtype) @ v


def _three_blocks(x_BHTK: Tensor, block: int, spare: int) -> Tensor:
    """Return for each block what stands in it and in the two beside it, (B, H, N, S, K)."""
    wide = F.pad(x_BHTK, (0, 0, block, block + spare))
    return wide.unfold(2, 3 * block, block).transpose(-1, -2)


def _seen(length: int, window: int, mask_BT: Tensor | None, device: torch.device) -> Tensor:
    """Return which keys each query sees, (T, T) or (B, 1, T, T)."""
    place = torch.arange(length, device=device)
    apart = (place[:, None] - place).abs()
    near = apart <= window // 2
    return (near if mask_BT is None else near & mask_BT.bool()[:, None, None]) | (apart == 0)


def _seen_in_blocks(
    length: int, block: int, count: int, window: int, mask_BT: Tensor | None, device: torch.device
) -> Tensor:
    """Return which keys each query of each block sees, (N, Q, S) or (B, 1, N, Q, S)."""
    query = torch.arange(block, device=device)[:, None]
    key = torch.arange(3 * block, device=device) - block
    near = (query - key).abs() <= window // 2
    place_NS = torch.arange(count, device=device)[:, None] * block + key
    inside_NS = (place_NS >= 0) & (place_NS < length)
    itself = query == key
    if mask_BT is None:
        return near & inside_NS[:, None] | itself
    real_BNS = mask_BT.bool()[:, place_NS.clamp(0, length - 1)] & inside_NS
    return near & real_BNS[:, None, :, None] | itself


class GeGlu(nn.Module):
    """A feed-forward with one half gating the other."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.Wi = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.Wo = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map each position on its own."""
        inner, gate = self.Wi(x_BTD).chunk(2, dim=-1)
        out: Tensor = self.Wo(F.gelu(inner) * gate)
        return out


class Block(nn.Module):
    """One encoder layer."""

    def __init__(self, shape: ModernBertShape, layer: int) -> None:
        super().__init__()
        self.attn_norm = Norm(shape) if layer else nn.Identity()
        self.attn = Attention(shape, layer)
        self.mlp_norm = Norm(shape)
        self.mlp = GeGlu(shape.d_model, shape.d_ff)

    def forward(
        self,
        x_BTD: Tensor,
        angles_TP: Tensor,
        mask_BT: Tensor | None,
        kernel: str,
        share: float,
    ) -> Tensor:
        """Return the layer's output."""
        update = self.attn(self.attn_norm(x_BTD), angles_TP, mask_BT, kernel)
        x_BTD = x_BTD + drop(update, share, self.training)
        return x_BTD + drop(self.mlp(self.mlp_norm(x_BTD)), share, self.training)


class Embeddings(nn.Module):
    """Tokens, normalised."""

    def __init__(self, vocab_size: int, shape: ModernBertShape) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab_size, shape.d_model)
        self.norm = Norm(shape)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the first block's input, (B, T, D)."""
        out: Tensor = self.norm(self.tok_embeddings(ids_BT))
        return out


class Head(nn.Module):
    """What the pooled vector of a text passes before it is classified."""

    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.d_model, shape.d_model, bias=False)
        self.norm = Norm(shape)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Map the pooled vectors."""
        out: Tensor = self.norm(F.gelu(self.dense(pooled_BD)))
        return out


class _Backbone(nn.Module):
    """Embeddings, blocks and final norm under the native prefix `model.`."""

    def __init__(self, shape: ModernBertShape, spec: TaskSpec) -> None:
        super().__init__()
        self.embeddings = Embeddings(spec.vocab_size, shape)
        self.layers = nn.ModuleList(Block(shape, layer) for layer in range(shape.n_layer))
        self.final_norm = Norm(shape)


class ModernBert(nn.Module):
    """A ModernBERT that puts texts into classes.

    Args:
        shape: A checked shape.
        spec: Vocabulary and classes.

    Attributes:
        kernel: Attention kernel of global layers, `sdpa` or `bmm`.
        dropout: Share of each residual update that training drops; part of the recipe, not of
            the architecture.
    """

    def __init__(self, shape: ModernBertShape, spec: TaskSpec) -> None:
        super().__init__()
        self.shape, self.spec = shape, spec
        self.kernel, self.dropout = "sdpa", 0.0
        self.model = _Backbone(shape, spec)
        self.head = Head(shape)
        self.classifier = nn.Linear(shape.d_model, spec.n_class)
        self._angles: dict[float, Tensor] = {}

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Return the logits of each text's classes, shape (B, C)."""
        x_BTD = self.model.embeddings(ids_BT)
        length, device = ids_BT.shape[1], x_BTD.device
        thetas = {0: self.shape.global_theta, self.shape.window: self.shape.local_theta}
        angles = {window: self._angles_of(t, length, device) for window, t in thetas.items()}
        for block in self.model.layers:
            assert isinstance(block, Block)
            turn = angles[block.attn.window]
            x_BTD = block(x_BTD, turn, mask_BT, self.kernel, self.dropout)
        x_BTD = self.model.final_norm(x_BTD)
        pooled_BD = self.head(x_BTD[:, 0] if self.shape.first_token else _mean(x_BTD, mask_BT))
        logits: Tensor = self.classifier(drop(pooled_BD, self.dropout, self.training))
        return logits

    def _angles_of(self, theta: float, length: int, device: torch.device) -> Tensor:
        known = self._angles.get(theta)
        if known is None or len(known) < length or known.device != device:
            head_dim = self.shape.d_model // self.shape.n_head
            longest = max(length, self.spec.context)
            with torch.inference_mode(False):  # training may read them later
                known = rotary_angles(longest, head_dim, theta).to(device)
            self._angles[theta] = known
        return known[:length]

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights."""
        draw_weights(self, generator, zeroed=("Wo",), stds={"classifier": CLASSIFIER_STD})

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        return [weight for weight in self.model.layers.parameters() if weight.ndim == 2]


def _mean(x_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Return the mean over the tokens that are no padding, (B, D)."""
    if mask_BT is None:
        return x_BTD.mean(dim=1)
    weight_BT1 = mask_BT.to(x_BTD.dtype)[..., None]
    return (x_BTD * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1)
