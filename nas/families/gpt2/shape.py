"""The shape of a GPT-2 decoder: closed-form cost and native configuration.

Block: pre-LayerNorm, causal attention, feed-forward with the tanh form of GELU, biases; learned
positions, output layer tied to the embedding.
Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.families.plain import PlainShape, blocks_cost, columns
from nas.records import TaskSpec

LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpt2Shape(PlainShape):
    """A GPT-2's searchable fields (see `PlainShape`)."""

    family: ClassVar[str] = "gpt2"
    heads: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    module: ClassVar[str] = "nas.families.gpt2.module:Gpt2"
    description: ClassVar[str] = "decoder: pre-LayerNorm, learned positions, GELU, biases, tied"

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return params, FLOPs and memory in closed form (see `families.Shape.cost`)."""
        d_model, n_layer, d_ff = fields["d_model"], fields["n_layer"], fields["d_ff"]
        blocks = blocks_cost(n_layer, d_model, fields["n_head"], d_ff, length=context)
        # Beside what any block keeps: the tanh of GELU is torch's own, nothing more. The last
        # block's output and its norm; the logits' softmax.
        saved = blocks.saved + context * (2 * d_model + 2 + spec.vocab_size)
        return columns(
            params=blocks.params + 2 * d_model,
            embedding=(spec.vocab_size + spec.context) * d_model,
            flops=blocks.flops + 2 * context * d_model * spec.vocab_size,
            saved=saved,
            context=context,
            batch=batch,
        )

    def native_config(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the stock `config.json`."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_embd": self.d_model,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_inner": self.d_ff,
            "n_positions": spec.context,
            "activation_function": "gelu_new",
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "summary_first_dropout": 0.0,
            "layer_norm_epsilon": LAYER_NORM_EPS,
            "scale_attn_weights": True,
            "tie_word_embeddings": True,
            "vocab_size": spec.vocab_size,
            "bos_token_id": spec.bos_token_id,
            "eos_token_id": spec.eos_token_id,
            "pad_token_id": spec.pad_token_id,
            "dtype": "float32",
            "torch_dtype": "float32",
        }
