"""The shape of a ModernBERT encoder: closed-form cost and native configuration.

Block: pre-LayerNorm without biases (none before the first layer's attention), rotary positions,
GeGLU. Of `global_every` layers the first attends to all tokens, the others to a window.
Source: Warner et al., "Smarter, Better, Faster, Longer", 2024, https://arxiv.org/abs/2412.13663.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nas.errors import ShapeError
from nas.families.labels import label_maps
from nas.families.native import Native, NativeConfig
from nas.families.plain import LIMITS, PlainShape, columns
from nas.records import ShapeValue, TaskSpec

NORM_EPS = 1e-5
GLOBAL_THETA = 160_000.0
LOCAL_THETA = 10_000.0
KINDS = ("full_attention", "sliding_attention")  # of layers, as stock configurations say

# Queries that a windowed layer works on at once, at least: smaller blocks are all overhead.
LEAST_BLOCK = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ModernBertShape(PlainShape):
    """A ModernBERT's searchable fields.

    Attributes:
        window: Tokens that a local layer's token sees, half on each side, even.
        global_every: Layer i attends to all tokens if this divides i.
        global_theta: Base of the rotary positions of layers that attend to all tokens.
        local_theta: The same of local layers.
        norm_eps: What norms add to a variance.
        first_token: Whether the first token is classified rather than the mean of all.
    """

    window: int = 128
    global_every: int = 3
    global_theta: float = GLOBAL_THETA
    local_theta: float = LOCAL_THETA
    norm_eps: float = NORM_EPS
    first_token: bool = False

    family: ClassVar[str] = "modernbert"
    heads: ClassVar[frozenset[str]] = frozenset({"classify"})
    constants: ClassVar[frozenset[str]] = frozenset(
        {"global_theta", "local_theta", "norm_eps", "first_token"}
    )
    module: ClassVar[str] = "nas.families.modernbert.module:ModernBert"
    limits: ClassVar[Mapping[str, int]] = {**LIMITS, "window": 1 << 20, "global_every": 256}
    description: ClassVar[str] = "encoder for long texts: rotary, GeGLU, local and global attention"

    def __post_init__(self) -> None:
        PlainShape.__post_init__(self)
        self._check_count("window")
        self._check_count("global_every")
        if self.window % 2:
            raise ShapeError(f"modernbert: window: got {self.window}, expected an even number")
        if self.d_model // self.n_head % 2:
            raise ShapeError(
                f"modernbert: n_head: heads of {self.d_model // self.n_head} are odd; rotary "
                "positions need an even width"
            )

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields in canonical form."""
        fields = PlainShape.canonical(self)
        if self.window != 128:
            fields["window"] = self.window
        if self.global_every != 3:
            fields["global_every"] = self.global_every
        return fields

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes are valid (see `families.Shape.valid`)."""
        d_model, n_head = fields["d_model"], fields["n_head"]
        even = (d_model // n_head) % 2 == 0
        return (d_model % n_head == 0) & even & (fields["window"] % 2 == 0)

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return params, FLOPs and memory in closed form (see `families.Shape.cost`)."""
        n_layer, d_model, n_head = fields["n_layer"], fields["d_model"], fields["n_head"]
        d_ff, every = fields["d_ff"], fields["global_every"]
        n_global = (n_layer + every - 1) // every
        n_local = np.maximum(n_layer - n_global, 0)
        whole = context * context
        scores = n_global * whole + n_local * local_scores(fields["window"], context)
        matrices = 4 * d_model * d_model + 3 * d_model * d_ff
        square = d_model * d_model
        head = square + d_model + spec.n_class * d_model + spec.n_class
        # Inputs of norms, of attention, of its projection back and of the feed-forward; queries,
        # keys and values, turned; GeGLU's halves, the activated one and their product.
        kept = n_layer * (8 * d_model + 4 * d_ff + 4)
        spread = n_local * d_model * spread_tokens(fields["window"], context)
        saved = context * (kept + 4 * d_model + 4) + n_head * scores + spread
        return columns(
            params=n_layer * (matrices + 2 * d_model) + d_model + head,
            embedding=spec.vocab_size * d_model,
            flops=n_layer * context * 2 * matrices
            + 4 * d_model * scores
            + 2 * square
            + 2 * d_model * spec.n_class,
            saved=saved,
            context=context,
            batch=batch,
        )

    def native_config(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the stock `config.json`."""
        return {
            "architectures": ["ModernBertForSequenceClassification"],
            "model_type": "modernbert",
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "intermediate_size": self.d_ff,
            "local_attention": self.window,
            "global_attn_every_n_layers": self.global_every,
            "layer_types": _layer_kinds(self.n_layer, self.global_every),
            "global_rope_theta": self.global_theta,  # transformers 4 reads these two
            "local_rope_theta": self.local_theta,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": self.global_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": self.local_theta},
            },
            "hidden_activation": "gelu",
            "classifier_activation": "gelu",
            "classifier_pooling": "cls" if self.first_token else "mean",
            "classifier_bias": False,
            "classifier_dropout": 0.0,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "mlp_dropout": 0.0,
            "embedding_dropout": 0.0,
            "norm_bias": False,
            "norm_eps": self.norm_eps,
            "max_position_embeddings": spec.context,
            "vocab_size": spec.vocab_size,
            "bos_token_id": spec.bos_token_id,
            "cls_token_id": spec.bos_token_id,
            "eos_token_id": spec.eos_token_id,
            "sep_token_id": spec.eos_token_id,
            "pad_token_id": spec.pad_token_id,
            "problem_type": "single_label_classification",
            **label_maps(spec),
            "dtype": "float32",
            "torch_dtype": "float32",
        }


def local_block(window: Any) -> Any:
    """Return how many queries a local layer works on at once: they see three blocks of keys."""
    return np.maximum(window // 2, LEAST_BLOCK)


def local_scores(window: Any, length: int) -> Any:
    """Return how many scores a head of a local layer computes: all, or blocks if they are fewer."""
    return np.minimum(length * length, 3 * _padded(window, length) * local_block(window))


def spread_tokens(window: Any, length: int) -> Any:
    """Return how many tokens' vectors blocks hold beyond one query, key and value a token.

    A block has copies of the keys and values of three blocks; 0 where there are no blocks.
    """
    padded = _padded(window, length)
    blocked = np.minimum((length * length - 1) // (3 * padded * local_block(window)), 1)
    return blocked * np.maximum(7 * padded - 3 * length, 0)


def _padded(window: Any, length: int) -> Any:
    """Return the length, rounded up to whole blocks."""
    block = local_block(window)
    # The maximum changes no number; an interval of windows alone would reach down to zero.
    return np.maximum((length + block - 1) // block * block, length)


def _layer_kinds(n_layer: int, global_every: int) -> list[str]:
    """Return what each layer is called in a stock configuration."""
    return [KINDS[layer % global_every > 0] for layer in range(n_layer)]


def _read(config: NativeConfig) -> tuple[ModernBertShape, TaskSpec]:
    """Read the `config.json` of a stock ModernBERT."""
    for name in ("hidden_activation", "classifier_activation"):
        config.must(name, "gelu", default="gelu")
    for name in ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"):
        config.must(name, False, default=False)
    config.must("classifier_pooling", "cls", "mean", default="cls")
    vocab_size = config.integer("vocab_size")
    n_layer = config.integer("num_hidden_layers", maximum=LIMITS["n_layer"])
    shape = ModernBertShape(
        n_layer=n_layer,
        d_model=config.integer("hidden_size"),
        n_head=config.integer("num_attention_heads"),
        d_ff=config.integer("intermediate_size"),
        window=config.integer("local_attention", 128),
        global_every=_global_every(config, n_layer),
        global_theta=config.rope_theta("global_rope_theta", GLOBAL_THETA, KINDS[0]),
        local_theta=config.rope_theta("local_rope_theta", LOCAL_THETA, KINDS[1]),
        norm_eps=config.number("norm_eps", NORM_EPS),
        first_token=config.value("classifier_pooling", "cls") == "cls",
    )
    spec = TaskSpec(
        task="text_classification",
        head="classify",
        vocab_size=vocab_size,
        context=config.integer("max_position_embeddings", 8192),
        labels=config.labels(),
        bos_token_id=config.token("cls_token_id", vocab_size, 50_281),
        eos_token_id=config.token("sep_token_id", vocab_size, 50_282),
        pad_token_id=config.token("pad_token_id", vocab_size, 50_283),
    )
    return shape, spec


def _global_every(config: NativeConfig, n_layer: int) -> int:
    """Return the distance of layers that attend to all tokens; the list of kinds must agree."""
    kinds = config.value("layer_types")
    if kinds is None or config.value("global_attn_every_n_layers") is not None:
        usual = (config.integer("global_attn_every_n_layers", 3),)
    else:
        usual = (3, *range(1, n_layer + 1))
    found = [every for every in usual if kinds in (None, _layer_kinds(n_layer, every))]
    if not found:
        config.refuse("layer_types", "nas computes a full layer, then every n-th full")
    return found[0]


NATIVE = Native(
    read=_read,
    classes=("ModernBertForSequenceClassification",),
    headless=("ModernBertModel", "ModernBertForMaskedLM"),
    prefix="model.",
    head=("classifier.", "head."),
    other_heads=("decoder.",),
    buffers=r".*rotary_emb\..*inv_freq",
)
