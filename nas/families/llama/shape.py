"""The shape of a Llama decoder: its fields, rules, closed-form cost and native configuration.

Block: pre-RMSNorm, rotary positions (half-split), grouped-query attention, SwiGLU, no biases.
Source: Touvron et al., "LLaMA", 2023, https://arxiv.org/abs/2302.13971; grouped-query heads:
Ainslie et al., "GQA", 2023, https://arxiv.org/abs/2305.13245.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from nas.errors import ShapeError
from nas.families.constants import check_constants, stated_constants
from nas.families.native import Native, NativeConfig
from nas.records import ShapeValue, TaskSpec

ROPE_THETA = 10_000.0
RMS_NORM_EPS = 1e-6

# Queries that attention works on at once when it trains on a CPU (`families.cpu_attention`).
QUERY_BLOCK = 64
# Positions up to which a feed-forward keeps its products also (`families.cpu_feed_forward`).
FEW_POSITIONS = 1024

# No shape beyond these is built or loaded: a folder's numbers are untrusted.
LIMITS = {
    "n_layer": 256,
    "d_model": 16_384,
    "n_head": 256,
    "n_kv_head": 256,
    "head_dim": 512,
    "d_ff": 65_536,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaShape:
    """A Llama's searchable fields.

    Attributes:
        n_layer: Number of blocks.
        d_model: Width of the residual stream.
        n_head: Query heads of each layer.
        d_ff: Width of the feed-forward, one number or one a layer.
        n_kv_head: Key/value heads, one number or one a layer, each a divisor of `n_head`;
            None: as many as `n_head`.
        head_dim: Width of one head, even; None: `d_model / n_head`.
        tied: Whether the output layer shares the embedding's weights.
        rope_theta: Base of the rotary positions.
        norm_eps: What norms add to a mean square.
    """

    n_layer: int
    d_model: int
    n_head: int
    d_ff: int | tuple[int, ...]
    n_kv_head: int | tuple[int, ...] | None = None
    head_dim: int | None = None
    tied: bool = True
    rope_theta: float = ROPE_THETA
    norm_eps: float = RMS_NORM_EPS

    family: ClassVar[str] = "llama"
    heads: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    module: ClassVar[str] = "nas.families.llama.module:Llama"
    per_layer: ClassVar[frozenset[str]] = frozenset({"d_ff", "n_kv_head"})
    limits: ClassVar[Mapping[str, int]] = LIMITS
    least: ClassVar[Mapping[str, float]] = {}
    constants: ClassVar[frozenset[str]] = frozenset({"rope_theta", "norm_eps"})
    description: ClassVar[str] = "decoder: RMSNorm, rotary positions, grouped-query heads, SwiGLU"

    def __post_init__(self) -> None:
        for name in ("n_layer", "d_model", "n_head", "head_dim"):
            self._check_count(name, getattr(self, name), allow_none=name == "head_dim")
        if type(self.tied) is not bool:
            raise ShapeError(f"llama: tied: got {self.tied!r}, expected true or false")
        check_constants(self)
        for name in ("d_ff", "n_kv_head"):
            object.__setattr__(self, name, self._check_per_layer(name, getattr(self, name)))
        if self.head_dim is None and self.d_model % self.n_head:
            raise ShapeError(
                f"llama: n_head: {self.n_head} does not divide d_model {self.d_model}; "
                "choose a divisor or set head_dim"
            )
        if self.head_size % 2:
            raise ShapeError(
                f"llama: head_dim: {self.head_size} is odd; rotary positions need an even one"
            )
        for kv in self.kv_heads:
            if self.n_head % kv:
                raise ShapeError(f"llama: n_kv_head: {kv} does not divide n_head {self.n_head}")

    def _check_count(self, name: str, value: Any, *, allow_none: bool = False) -> None:
        if value is None and allow_none:
            return
        limit = LIMITS[name]
        if type(value) is not int or not 1 <= value <= limit:
            raise ShapeError(f"llama: {name}: got {value!r}, expected an integer 1 to {limit}")

    def _check_per_layer(self, name: str, value: Any) -> int | tuple[int, ...] | None:
        if not isinstance(value, (list, tuple)):
            self._check_count(name, value, allow_none=name == "n_kv_head")
            return value  # type: ignore[no-any-return]  # checked to be an int or None
        if len(value) != self.n_layer:
            raise ShapeError(
                f"llama: {name}: {len(value)} numbers for {self.n_layer} layers; give one each"
            )
        for item in value:
            self._check_count(name, item)
        return value[0] if len(set(value)) == 1 else tuple(value)

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim if self.head_dim is not None else self.d_model // self.n_head

    @property
    def ff_widths(self) -> tuple[int, ...]:
        """Feed-forward width of each layer."""
        return self.d_ff if isinstance(self.d_ff, tuple) else (self.d_ff,) * self.n_layer

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """Key/value heads of each layer."""
        if isinstance(self.n_kv_head, tuple):
            return self.n_kv_head
        return (self.n_kv_head or self.n_head,) * self.n_layer

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields in canonical form; a field equal to its default is left out."""
        fields: dict[str, ShapeValue] = {
            "n_layer": self.n_layer,
            "d_model": self.d_model,
            "n_head": self.n_head,
            "d_ff": self.d_ff,
        }
        if self.n_kv_head is not None and self.n_kv_head != self.n_head:
            fields["n_kv_head"] = self.n_kv_head
        if self.head_size * self.n_head != self.d_model:
            fields["head_dim"] = self.head_size
        if not self.tied:
            fields["tied"] = False
        return fields | stated_constants(self)

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes are valid (see `families.Shape.valid`)."""
        d_model, n_head = fields["d_model"], fields["n_head"]
        head_dim = fields.get("head_dim")
        if head_dim is None:
            good = (d_model % n_head == 0) & ((d_model // n_head) % 2 == 0)
        else:
            good = (head_dim % 2 == 0) & (d_model > 0)
        n_kv_head = fields.get("n_kv_head")
        for kv in [] if n_kv_head is None else _layers(n_kv_head, 1):
            good = good & (n_head % kv == 0)
        return good

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return params, FLOPs and memory in closed form (see `families.Shape.cost`)."""
        n_layer, d_model, n_head = fields["n_layer"], fields["d_model"], fields["n_head"]
        head_dim = fields.get("head_dim")
        head_dim = d_model // n_head if head_dim is None else head_dim
        n_kv_head = fields.get("n_kv_head")
        n_kv_head = n_head if n_kv_head is None else n_kv_head
        untied = 1 - np.asarray(fields.get("tied", True)).astype(np.int64)

        q_width = n_head * head_dim
        sum_kv_width = _total(n_kv_head, n_layer) * head_dim
        sum_ff = _total(fields["d_ff"], n_layer)
        matrices = (
            2 * n_layer * d_model * q_width + 2 * d_model * sum_kv_width + 3 * d_model * sum_ff
        )
        norms = (2 * n_layer + 1) * d_model
        embedding = spec.vocab_size * d_model
        params = matrices + norms + embedding * (1 + untied)
        flops = 2 * matrices + 2 * embedding + 4 * n_layer * context * q_width
        # What the backward passes of `families.cpu_*` keep, in numbers a token: unit
        # vectors and their scales, heads, softmax weights, what gates make, logits.
        tokens = batch * context
        gates = 4 - 2 * (tokens > FEW_POSITIONS)
        seen = min(context, (context + QUERY_BLOCK) / 2)
        heads = n_layer * (4 * q_width + n_head * seen)
        saved = n_layer * 2 * (d_model + 1) + heads + gates * sum_ff + d_model + 1 + spec.vocab_size
        return {
            "params": params,
            "non_embedding_params": matrices + norms,
            "flops_per_token": flops,
            "train_flops_per_token": 3 * flops,
            "train_memory_bytes": 16 * params + 4 * tokens * saved,
        }

    def native_config(self, spec: TaskSpec) -> dict[str, Any] | None:
        """Return the stock `config.json`, or None where layers differ (see `uniform`).

        transformers' Llama refuses a `d_model` that `n_head` does not divide; its Mistral without
        a sliding window is the same function and does not.
        """
        if isinstance(self.d_ff, tuple) or isinstance(self.n_kv_head, tuple):
            return None
        divides = self.d_model % self.n_head == 0
        config: dict[str, Any] = {
            "architectures": ["LlamaForCausalLM" if divides else "MistralForCausalLM"],
            "model_type": "llama" if divides else "mistral",
            "hidden_size": self.d_model,
            "intermediate_size": self.d_ff,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "num_key_value_heads": self.kv_heads[0],
            "head_dim": self.head_size,
            "hidden_act": "silu",
            "max_position_embeddings": spec.context,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,  # transformers 4 reads this one, 5 the next
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tied,
            "vocab_size": spec.vocab_size,
            "bos_token_id": spec.bos_token_id,
            "eos_token_id": spec.eos_token_id,
            "pad_token_id": spec.pad_token_id,
            "dtype": "float32",
            "torch_dtype": "float32",
        }
        if divides:
            config |= {"attention_bias": False, "mlp_bias": False}
        else:
            config["sliding_window"] = None
        return config

    def uniform(self) -> Self:
        """Return the shape that `pad_state` of the module pads to: equal in all layers."""
        return replace(self, d_ff=max(self.ff_widths), n_kv_head=math.lcm(*self.kv_heads))


def _layers(value: Any, n_layer: int) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value] * n_layer


def _total(value: Any, n_layer: Any) -> Any:
    """Sum a per-layer field over the layers; `n_layer` may be an array if `value` is no list."""
    return sum(value) if isinstance(value, (list, tuple)) else value * n_layer


def _read(config: NativeConfig) -> tuple[LlamaShape, TaskSpec]:
    """Read the `config.json` of a stock Llama or Mistral."""
    is_mistral = config.value("model_type") == "mistral"
    context = config.integer("max_position_embeddings", 131_072 if is_mistral else 2048)
    if is_mistral:
        window = config.value("sliding_window", 4096)
        if window is not None and (type(window) is not int or window < context):
            config.refuse(
                "sliding_window",
                f"nas attends to all {context} tokens; write null, or a max_position_embeddings "
                "within it",
            )
    config.must("hidden_act", "silu", "swish", default="silu")
    for name in ("attention_bias", "mlp_bias"):
        config.must(name, False, None, default=False)
    vocab_size, n_head = config.integer("vocab_size"), config.integer("num_attention_heads")
    shape = LlamaShape(
        n_layer=config.integer("num_hidden_layers"),
        d_model=config.integer("hidden_size"),
        n_head=n_head,
        d_ff=config.integer("intermediate_size"),
        n_kv_head=_stock_kv_heads(config, n_head, is_mistral=is_mistral),
        head_dim=None if config.value("head_dim") is None else config.integer("head_dim"),
        tied=config.boolean("tie_word_embeddings", default=False),
        rope_theta=config.rope_theta("rope_theta", ROPE_THETA),
        norm_eps=config.number("rms_norm_eps", RMS_NORM_EPS),
    )
    spec = TaskSpec(
        task="language_modeling",
        head="causal_lm",
        vocab_size=vocab_size,
        context=context,
        bos_token_id=config.token("bos_token_id", vocab_size, 1),
        eos_token_id=config.token("eos_token_id", vocab_size, 2),
        pad_token_id=config.token("pad_token_id", vocab_size),
    )
    return shape, spec


def _stock_kv_heads(config: NativeConfig, n_head: int, *, is_mistral: bool) -> int:
    is_missing = config.value("num_key_value_heads", ...) is ...
    return config.integer("num_key_value_heads", 8 if is_mistral and is_missing else n_head)


NATIVE = Native(
    read=_read,
    classes=("LlamaForCausalLM", "MistralForCausalLM", "LlamaModel", "MistralModel"),
    prefix="model.",
    buffers=r".*rotary_emb\.inv_freq",
    tied=(("lm_head.weight", "model.embed_tokens.weight"),),
)
