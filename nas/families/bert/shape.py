"""The shape of a BERT encoder: closed-form cost and native configuration.

Block: attention and feed-forward with GELU, each added and normalised after; learned positions,
biases. The classifier reads the first token through a tanh layer.
Source: Devlin et al., "BERT", 2019, https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.families.labels import label_maps
from nas.families.native import Native, NativeConfig
from nas.families.plain import PlainShape, blocks_cost, columns
from nas.records import TaskSpec

LAYER_NORM_EPS = 1e-12
TOKEN_TYPES = 2  # first and second text of a pair; the first alone is trained here


@dataclass(frozen=True, kw_only=True, slots=True)
class BertShape(PlainShape):
    """A BERT's fields (see `PlainShape`).

    Attributes:
        norm_eps: What norms add to a variance.
    """

    norm_eps: float = LAYER_NORM_EPS

    family: ClassVar[str] = "bert"
    heads: ClassVar[frozenset[str]] = frozenset({"classify"})
    constants: ClassVar[frozenset[str]] = frozenset({"norm_eps"})
    module: ClassVar[str] = "nas.families.bert.module:Bert"
    description: ClassVar[str] = "encoder: post-LayerNorm, learned positions, GELU, tanh pooler"

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return params, FLOPs and memory in closed form (see `families.Shape.cost`)."""
        d_model = fields["d_model"]
        blocks = blocks_cost(
            fields["n_layer"], d_model, fields["n_head"], fields["d_ff"], length=context
        )
        head = d_model * d_model + d_model + spec.n_class * d_model + spec.n_class
        # The embeddings' sum before its norm; the input of the first block; both pooled vectors.
        saved = blocks.saved + context * (2 * d_model + 2) + 2 * d_model + 2 * spec.n_class
        return columns(
            params=blocks.params + 2 * d_model + head,
            embedding=(spec.vocab_size + spec.context + TOKEN_TYPES) * d_model,
            flops=blocks.flops + 2 * d_model * d_model + 2 * d_model * spec.n_class,
            saved=saved,
            context=context,
            batch=batch,
        )

    def native_config(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the stock `config.json`."""
        return {
            "architectures": ["BertForSequenceClassification"],
            "model_type": "bert",
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "intermediate_size": self.d_ff,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout": 0.0,
            "layer_norm_eps": self.norm_eps,
            "max_position_embeddings": spec.context,
            "type_vocab_size": TOKEN_TYPES,
            "vocab_size": spec.vocab_size,
            "bos_token_id": spec.bos_token_id,
            "eos_token_id": spec.eos_token_id,
            "pad_token_id": spec.pad_token_id,
            "problem_type": "single_label_classification",
            **label_maps(spec),
            "dtype": "float32",
            "torch_dtype": "float32",
        }


def _read(config: NativeConfig) -> tuple[BertShape, TaskSpec]:
    """Read the `config.json` of a stock BERT."""
    config.must("hidden_act", "gelu", default="gelu")
    config.must("position_embedding_type", "absolute", default="absolute")
    config.must("is_decoder", False, default=False)
    config.must("add_cross_attention", False, default=False)
    config.must("type_vocab_size", TOKEN_TYPES, default=TOKEN_TYPES)
    vocab_size = config.integer("vocab_size")
    shape = BertShape(
        n_layer=config.integer("num_hidden_layers"),
        d_model=config.integer("hidden_size"),
        n_head=config.integer("num_attention_heads"),
        d_ff=config.integer("intermediate_size"),
        norm_eps=config.number("layer_norm_eps", LAYER_NORM_EPS),
    )
    spec = TaskSpec(
        task="text_classification",
        head="classify",
        vocab_size=vocab_size,
        context=config.integer("max_position_embeddings", 512),
        labels=config.labels(),
        bos_token_id=config.token("bos_token_id", vocab_size),
        eos_token_id=config.token("eos_token_id", vocab_size),
        pad_token_id=config.token("pad_token_id", vocab_size, 0),
    )
    return shape, spec


NATIVE = Native(
    read=_read,
    classes=("BertForSequenceClassification",),
    headless=("BertModel", "BertForMaskedLM", "BertForPreTraining"),
    prefix="bert.",
    head=("classifier.", "bert.pooler."),
    other_heads=("cls.",),
    buffers=r".*embeddings\.position_ids",
    renamed=((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")),
)
