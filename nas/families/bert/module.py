"""The BERT classifier as a torch module whose state dict is the native one.

Shapes: B batch, T sequence, D d_model, F d_ff, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.families.bert.shape import TOKEN_TYPES, BertShape
from nas.families.blocks import CLASSIFIER_STD, Dense, SelfAttention, draw_weights, drop
from nas.records import TaskSpec


class AddNorm(nn.Module):
    """A projection back into the residual stream, added and normalised."""

    def __init__(self, n_in: int, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(n_in, shape.d_model)
        self.LayerNorm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)

    def forward(self, inner: Tensor, x_BTD: Tensor, share: float) -> Tensor:
        """Return `norm(x + dense(inner))`, with a share of the update dropped."""
        out: Tensor = self.LayerNorm(x_BTD + drop(self.dense(inner), share, self.training))
        return out


class Attention(nn.Module):
    """Self-attention with its projection back."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        inner = SelfAttention(shape.d_model, shape.n_head, ("query", "key", "value"))
        self.add_module("self", inner)
        self.output = AddNorm(shape.d_model, shape)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None, kernel: str, share: float) -> Tensor:
        """Return the residual stream after attention."""
        mixed = self.get_submodule("self")(x_BTD, mask_BT, kernel)
        out: Tensor = self.output(mixed, x_BTD, share)
        return out


class Block(nn.Module):
    """One encoder layer."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.intermediate = Dense(shape.d_model, shape.d_ff)
        self.output = AddNorm(shape.d_ff, shape)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None, kernel: str, share: float) -> Tensor:
        """Return the layer's output."""
        x_BTD = self.attention(x_BTD, mask_BT, kernel, share)
        out: Tensor = self.output(F.gelu(self.intermediate(x_BTD)), x_BTD, share)
        return out


class Embeddings(nn.Module):
    """Tokens, positions and token type, summed and normalised."""

    def __init__(self, shape: BertShape, spec: TaskSpec) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(spec.vocab_size, shape.d_model)
        self.position_embeddings = nn.Embedding(spec.context, shape.d_model)
        self.token_type_embeddings = nn.Embedding(TOKEN_TYPES, shape.d_model)
        self.LayerNorm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the first block's input, (B, T, D); all tokens are of the first type."""
        place_TD = self.position_embeddings.weight[: ids_BT.shape[1]]
        beside_TD = place_TD + self.token_type_embeddings.weight[0]
        out: Tensor = self.LayerNorm(self.word_embeddings(ids_BT) + beside_TD)
        return out


class _Encoder(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))


class _Backbone(nn.Module):
    """Embeddings, blocks and pooler under the native prefix `bert.`."""

    def __init__(self, shape: BertShape, spec: TaskSpec) -> None:
        super().__init__()
        self.embeddings = Embeddings(shape, spec)
        self.encoder = _Encoder(shape)
        self.pooler = Dense(shape.d_model, shape.d_model)


class Bert(nn.Module):
    """A BERT that puts texts into classes.

    Args:
        shape: A checked shape.
        spec: Vocabulary, longest context and classes.

    Attributes:
        kernel: Attention kernel, `sdpa` or `bmm`.
        dropout: Share of each residual update that training drops; part of the recipe, not of
            the architecture.
    """

    def __init__(self, shape: BertShape, spec: TaskSpec) -> None:
        super().__init__()
        self.shape, self.spec = shape, spec
        self.kernel, self.dropout = "sdpa", 0.0
        self.bert = _Backbone(shape, spec)
        self.classifier = nn.Linear(shape.d_model, spec.n_class)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Return the logits of each text's classes, shape (B, C)."""
        x_BTD = self.bert.embeddings(ids_BT)
        for block in self.bert.encoder.layer:
            x_BTD = block(x_BTD, mask_BT, self.kernel, self.dropout)
        pooled_BD = torch.tanh(self.bert.pooler(x_BTD[:, 0]))
        logits: Tensor = self.classifier(drop(pooled_BD, self.dropout, self.training))
        return logits

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights."""
        draw_weights(self, generator, zeroed=("output.dense",), stds={"classifier": CLASSIFIER_STD})

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        return [weight for weight in self.bert.encoder.parameters() if weight.ndim == 2]
