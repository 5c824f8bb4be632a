"""The shape of a Vision Transformer: closed-form cost and native configuration.

Block: pre-LayerNorm, GELU, biases; patches through one matrix, a class token, learned positions.
Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021,
https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.families.labels import label_maps
from nas.families.native import Native, NativeConfig
from nas.families.plain import LIMITS, PlainShape, blocks_cost, columns
from nas.records import ShapeValue, TaskSpec

LAYER_NORM_EPS = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class VitShape(PlainShape):
    """A ViT's searchable fields.

    Attributes:
        patch_size: Height and width of a patch in pixels; what is left of an image beyond whole
            patches, at its right and lower edge, is not read.
        norm_eps: What norms add to a variance.
    """

    patch_size: int
    norm_eps: float = LAYER_NORM_EPS

    family: ClassVar[str] = "vit"
    heads: ClassVar[frozenset[str]] = frozenset({"classify_image"})
    constants: ClassVar[frozenset[str]] = frozenset({"norm_eps"})
    module: ClassVar[str] = "nas.families.vit.module:Vit"
    limits: ClassVar[Mapping[str, int]] = {**LIMITS, "patch_size": 1024}
    least: ClassVar[Mapping[str, float]] = {"patches": 1}  # none is larger than the images
    description: ClassVar[str] = "image encoder: patches, class token, pre-LayerNorm, GELU"

    def __post_init__(self) -> None:
        PlainShape.__post_init__(self)
        self._check_count("patch_size")

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields in canonical form."""
        return PlainShape.canonical(self) | {"patch_size": self.patch_size}

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return params, FLOPs and memory in closed form; an image counts as `context` tokens.

        `patches` is how many an image has.
        """
        d_model, patch = fields["d_model"], fields["patch_size"]
        side = spec.image_size // patch
        count, numbers = side * side, patch * patch * spec.n_channel
        length = count + 1
        blocks = blocks_cost(
            fields["n_layer"], d_model, fields["n_head"], fields["d_ff"], length=length
        )
        head = spec.n_class * d_model + spec.n_class
        # The pixels; the last block's output and its norm's statistics; the normed class token.
        saved = count * numbers + length * (d_model + 2) + d_model + 2 * spec.n_class
        found = columns(
            params=blocks.params + numbers * d_model + 4 * d_model + head,
            embedding=length * d_model,
            flops=blocks.flops + 2 * count * numbers * d_model + 2 * d_model * spec.n_class,
            saved=blocks.saved + saved,
            context=context,
            batch=batch,
        )
        return found | {"patches": count}

    def native_config(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the stock `config.json`."""
        return {
            "architectures": ["ViTForImageClassification"],
            "model_type": "vit",
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "intermediate_size": self.d_ff,
            "patch_size": self.patch_size,
            "image_size": spec.image_size,
            "num_channels": spec.n_channel,
            "qkv_bias": True,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "layer_norm_eps": self.norm_eps,
            "problem_type": "single_label_classification",
            **label_maps(spec),
            "dtype": "float32",
            "torch_dtype": "float32",
        }


def _read(config: NativeConfig) -> tuple[VitShape, TaskSpec]:
    """Read the `config.json` of a stock ViT."""
    config.must("hidden_act", "gelu", default="gelu")
    config.must("qkv_bias", True, default=True)
    shape = VitShape(
        n_layer=config.integer("num_hidden_layers"),
        d_model=config.integer("hidden_size"),
        n_head=config.integer("num_attention_heads"),
        d_ff=config.integer("intermediate_size"),
        patch_size=config.integer("patch_size", 16),
        norm_eps=config.number("layer_norm_eps", LAYER_NORM_EPS),
    )
    spec = TaskSpec(
        task="image_classification",
        head="classify_image",
        vocab_size=0,
        context=1,
        labels=config.labels(),
        image_size=config.integer("image_size", 224),
        n_channel=config.integer("num_channels", 3),
    )
    return shape, spec


NATIVE = Native(
    read=_read,
    classes=("ViTForImageClassification",),
    headless=("ViTModel", "ViTForMaskedImageModeling"),
    prefix="vit.",
    head=("classifier.",),
    other_heads=("pooler.", "embeddings.mask_token", "decoder."),
)
