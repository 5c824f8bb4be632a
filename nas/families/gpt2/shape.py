"""The shape of a GPT-2 decoder: closed-form cost and native configuration.

Block: pre-LayerNorm, causal attention, feed-forward with the tanh form of GELU, biases; learned
positions, output layer tied to the embedding.
Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.families.native import Native, NativeConfig
from nas.families.plain import PlainShape, blocks_cost, columns
from nas.records import TaskSpec

LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpt2Shape(PlainShape):
    """A GPT-2's fields (see `PlainShape`).

    Attributes:
        norm_eps: What norms add to a variance.
    """

    norm_eps: float = LAYER_NORM_EPS

    family: ClassVar[str] = "gpt2"
    heads: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    constants: ClassVar[frozenset[str]] = frozenset({"norm_eps"})
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
            "layer_norm_epsilon": self.norm_eps,
            "scale_attn_weights": True,
            "tie_word_embeddings": True,
            "vocab_size": spec.vocab_size,
            "bos_token_id": spec.bos_token_id,
            "eos_token_id": spec.eos_token_id,
            "pad_token_id": spec.pad_token_id,
            "dtype": "float32",
            "torch_dtype": "float32",
        }


def _read(config: NativeConfig) -> tuple[Gpt2Shape, TaskSpec]:
    """Read the `config.json` of a stock GPT-2."""
    config.must("activation_function", "gelu_new", "gelu_pytorch_tanh", default="gelu_new")
    config.must("scale_attn_weights", True, default=True)
    config.must("scale_attn_by_inverse_layer_idx", False, default=False)
    config.must("add_cross_attention", False, default=False)
    config.must("tie_word_embeddings", True, default=True)
    vocab_size, d_model = config.integer("vocab_size"), config.integer("n_embd")
    shape = Gpt2Shape(
        n_layer=config.integer("n_layer"),
        d_model=d_model,
        n_head=config.integer("n_head"),
        d_ff=config.integer("n_inner", 4 * d_model),
        norm_eps=config.number("layer_norm_epsilon", LAYER_NORM_EPS),
    )
    spec = TaskSpec(
        task="language_modeling",
        head="causal_lm",
        vocab_size=vocab_size,
        context=config.integer("n_positions", 1024),
        bos_token_id=config.token("bos_token_id", vocab_size, 50_256),
        eos_token_id=config.token("eos_token_id", vocab_size, 50_256),
        pad_token_id=config.token("pad_token_id", vocab_size),
    )
    return shape, spec


NATIVE = Native(
    read=_read,
    classes=("GPT2LMHeadModel", "GPT2Model"),
    prefix="transformer.",
    buffers=r".*h\.\d+\.attn\.(masked_)?bias",
    tied=(("lm_head.weight", "transformer.wte.weight"),),
)
