"""The Vision Transformer as a torch module whose state dict is the native one.

Shapes: B batch, N patches, T = N + 1 tokens, D d_model, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import ShapeError
from nas.families.blocks import CLASSIFIER_STD, Dense, SelfAttention, draw_weights, drop
from nas.families.vit.shape import VitShape
from nas.records import TaskSpec

POSITION_STD = 0.02


class Attention(nn.Module):
    """Self-attention with its projection back."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.attention = SelfAttention(shape.d_model, shape.n_head, ("query", "key", "value"))
        self.output = Dense(shape.d_model, shape.d_model)

    def forward(self, x_BTD: Tensor, kernel: str) -> Tensor:
        """Return the residual update."""
        out: Tensor = self.output(self.attention(x_BTD, None, kernel))
        return out


class Block(nn.Module):
    """One encoder layer."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.intermediate = Dense(shape.d_model, shape.d_ff)
        self.output = Dense(shape.d_ff, shape.d_model)
        self.layernorm_before = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)
        self.layernorm_after = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)

    def forward(self, x_BTD: Tensor, kernel: str, share: float) -> Tensor:
        """Return the layer's output."""
        mixed = self.attention(self.layernorm_before(x_BTD), kernel)
        x_BTD = x_BTD + drop(mixed, share, self.training)
        update = self.output(F.gelu(self.intermediate(self.layernorm_after(x_BTD))))
        return x_BTD + drop(update, share, self.training)


class Patches(nn.Module):
    """Patches through one matrix, stored as the native convolution's."""

    def __init__(self, shape: VitShape, spec: TaskSpec) -> None:
        super().__init__()
        size = shape.patch_size
        self.projection = nn.Conv2d(spec.n_channel, shape.d_model, size, stride=size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return patches as vectors, (B, N, D), row by row."""
        size, weight = self.projection.kernel_size[0], self.projection.weight
        rows, columns = (side // size for side in pixels.shape[2:])
        pixels = pixels[:, :, : rows * size, : columns * size]
        cut = pixels.unflatten(3, (columns, size)).unflatten(2, (rows, size))
        flat = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return F.linear(flat.to(weight.dtype), weight.flatten(1), self.projection.bias)


class Embeddings(nn.Module):
    """A class token before the patches, and learned positions."""

    def __init__(self, shape: VitShape, spec: TaskSpec) -> None:
        super().__init__()
        count = (spec.image_size // shape.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.empty(1, 1, shape.d_model))
        self.position_embeddings = nn.Parameter(torch.empty(1, count + 1, shape.d_model))
        self.patch_embeddings = Patches(shape, spec)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the first block's input, (B, T, D)."""
        patches_BND = self.patch_embeddings(pixels)
        first_B1D = self.cls_token.expand(pixels.shape[0], -1, -1).to(patches_BND.dtype)
        return torch.cat((first_B1D, patches_BND), dim=1) + self.position_embeddings


class _Encoder(nn.Module):
    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))


class _Backbone(nn.Module):
    """Embeddings, blocks and final norm under the native prefix `vit.`."""

    def __init__(self, shape: VitShape, spec: TaskSpec) -> None:
        super().__init__()
        self.embeddings = Embeddings(shape, spec)
        self.encoder = _Encoder(shape)
        self.layernorm = nn.LayerNorm(shape.d_model, eps=shape.norm_eps)


class Vit(nn.Module):
    """A Vision Transformer that puts images into classes.

    Args:
        shape: A checked shape.
        spec: Image size, channels and classes.

    Attributes:
        kernel: Attention kernel, `sdpa` or `bmm`.
        dropout: Share of each residual update that training drops; part of the recipe, not of
            the architecture.

    Raises:
        ShapeError: If a patch is larger than an image.
    """

    def __init__(self, shape: VitShape, spec: TaskSpec) -> None:
        super().__init__()
        if shape.patch_size > spec.image_size:
            raise ShapeError(
                f"vit: patch_size: {shape.patch_size} is larger than the images, "
                f"{spec.image_size} x {spec.image_size}"
            )
        self.shape, self.spec = shape, spec
        self.kernel, self.dropout = "sdpa", 0.0
        self.vit = _Backbone(shape, spec)
        self.classifier = nn.Linear(shape.d_model, spec.n_class)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of each image's classes, shape (B, C).

        Args:
            pixels: Shape (B, channels, height, width), -1 to 1.
        """
        x_BTD = self.vit.embeddings(pixels)
        for block in self.vit.encoder.layer:
            x_BTD = block(x_BTD, self.kernel, self.dropout)
        logits: Tensor = self.classifier(self.vit.layernorm(x_BTD[:, 0]))
        return logits

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights on the CPU; the same generator state gives the same weights."""
        patch_numbers = self.vit.embeddings.patch_embeddings.projection.weight[0].numel()
        draw_weights(
            self,
            generator,
            zeroed=("output.dense",),
            stds={
                "classifier": CLASSIFIER_STD,
                "cls_token": POSITION_STD,
                "position_embeddings": POSITION_STD,
                "projection": patch_numbers**-0.5,
            },
        )

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices inside the blocks, whose learning rate scales with width."""
        return [weight for weight in self.vit.encoder.parameters() if weight.ndim == 2]
