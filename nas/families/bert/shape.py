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
from nas.families.plain import PlainShape, blocks_cost, columns
from nas.records import TaskSpec

LAYER_NORM_EPS = 1e-12
TOKEN_TYPES = 2  # first and second text of a pair; the first alone is trained here


@dataclass(frozen=True, kw_only=True, slots=True)
class BertShape(PlainShape):
    """A BERT's searchable fields (see `PlainShape`)."""

    family: ClassVar[str] = "bert"
    heads: ClassVar[frozenset[str]] = frozenset({"classify"})
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
            "layer_norm_eps": LAYER_NORM_EPS,
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
