"""The shape of a Blenderbot encoder and decoder: closed-form cost and native configuration.

Block: pre-LayerNorm, GELU, biases; the decoder also attends to the encoder's output. Learned
positions, a norm at the end of each side, output layer tied to the embedding of both.
Source: Roller et al., "Recipes for Building an Open-Domain Chatbot", 2021,
https://arxiv.org/abs/2004.13637.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.families.native import Native, NativeConfig
from nas.families.plain import LIMITS, PlainShape, blocks_cost, columns
from nas.records import ShapeValue, TaskSpec

SIDES = ("n_layer", "n_head", "d_ff")  # fields that the decoder has of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class BlenderbotShape(PlainShape):
    """A Blenderbot's searchable fields; those of `PlainShape` are the encoder's.

    Attributes:
        n_layer_decoder: Number of the decoder's blocks; None: as many as the encoder's.
        n_head_decoder: Heads of the decoder's layers; None: as many as the encoder's.
        d_ff_decoder: Width of the decoder's feed-forward; None: the encoder's.
        scale_embedding: Whether embeddings of tokens are multiplied by the root of `d_model`.
    """

    n_layer_decoder: int | None = None
    n_head_decoder: int | None = None
    d_ff_decoder: int | None = None
    scale_embedding: bool = False

    family: ClassVar[str] = "blenderbot"
    heads: ClassVar[frozenset[str]] = frozenset({"seq2seq"})
    constants: ClassVar[frozenset[str]] = frozenset({"scale_embedding"})
    module: ClassVar[str] = "nas.families.blenderbot.module:Blenderbot"
    limits: ClassVar[Mapping[str, int]] = LIMITS | {f"{n}_decoder": LIMITS[n] for n in SIDES}
    description: ClassVar[str] = "encoder and decoder: pre-LayerNorm, cross-attention, GELU, tied"

    def __post_init__(self) -> None:
        PlainShape.__post_init__(self)
        for name in SIDES:
            if getattr(self, f"{name}_decoder") is not None:
                self._check_count(f"{name}_decoder")
        self._check_heads("n_head_decoder", self.n_head_decoder or self.n_head)

    @property
    def decoder(self) -> BlenderbotShape:
        """The shape whose encoder is this one's decoder."""
        return BlenderbotShape(
            n_layer=self.n_layer_decoder or self.n_layer,
            d_model=self.d_model,
            n_head=self.n_head_decoder or self.n_head,
            d_ff=self.d_ff_decoder or self.d_ff,
        )

    def canonical(self) -> dict[str, ShapeValue]:
        """Return the fields in canonical form; what is equal in the decoder is left out."""
        fields = PlainShape.canonical(self)
        for name in SIDES:
            if getattr(self.decoder, name) != getattr(self, name):
                fields[f"{name}_decoder"] = getattr(self.decoder, name)
        return fields

    @classmethod
    def valid(cls, fields: Mapping[str, Any]) -> Any:
        """Say which shapes are valid (see `families.Shape.valid`)."""
        d_model = fields["d_model"]
        good = d_model % fields["n_head"] == 0
        return good & (d_model % _of_decoder(fields, "n_head") == 0)

    @classmethod
    def cost(
        cls, fields: Mapping[str, Any], spec: TaskSpec, *, context: int, batch: int
    ) -> dict[str, Any]:
        """Return the columns of an example with `context` source and target tokens each."""
        d_model, length = fields["d_model"], context
        encoder = blocks_cost(
            fields["n_layer"], d_model, fields["n_head"], fields["d_ff"], length=length
        )
        n_layer, n_head, d_ff = (_of_decoder(fields, name) for name in SIDES)
        decoder = blocks_cost(n_layer, d_model, n_head, d_ff, length=length)
        square = d_model * d_model
        cross_params = n_layer * (4 * square + 6 * d_model)
        cross_flops = n_layer * length * (8 * square + 4 * length * d_model)
        cross_saved = n_layer * length * (6 * d_model + n_head * length + 2)
        # The last outputs of both sides and their norms; the logits' softmax.
        ends = 2 * length * (2 * d_model + 2) + length * spec.vocab_size
        return columns(
            params=encoder.params + decoder.params + cross_params + 4 * d_model,
            embedding=(spec.vocab_size + 2 * spec.context) * d_model + spec.vocab_size,
            flops=encoder.flops
            + decoder.flops
            + cross_flops
            + 2 * length * d_model * spec.vocab_size,
            saved=encoder.saved + decoder.saved + cross_saved + ends,
            context=context,
            batch=batch,
        )

    def native_config(self, spec: TaskSpec) -> dict[str, Any]:
        """Return the stock `config.json`."""
        sides: dict[str, Any] = {}
        for side, shape in (("encoder", self), ("decoder", self.decoder)):
            sides[f"{side}_layers"] = shape.n_layer
            sides[f"{side}_attention_heads"] = shape.n_head
            sides[f"{side}_ffn_dim"] = shape.d_ff
            sides[f"{side}_layerdrop"] = 0.0
        return {
            "architectures": ["BlenderbotForConditionalGeneration"],
            "model_type": "blenderbot",
            "is_encoder_decoder": True,
            "d_model": self.d_model,
            **sides,
            "activation_function": "gelu",
            "scale_embedding": self.scale_embedding,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "max_position_embeddings": spec.context,
            "tie_word_embeddings": True,
            "encoder_no_repeat_ngram_size": 0,
            "forced_eos_token_id": None,
            "vocab_size": spec.vocab_size,
            "bos_token_id": spec.bos_token_id,
            "eos_token_id": spec.eos_token_id,
            "pad_token_id": spec.pad_token_id,
            "decoder_start_token_id": spec.bos_token_id,
            "dtype": "float32",
            "torch_dtype": "float32",
        }


def _of_decoder(fields: Mapping[str, Any], name: str) -> Any:
    own = fields.get(f"{name}_decoder")
    return fields[name] if own is None else own


def _read(config: NativeConfig) -> tuple[BlenderbotShape, TaskSpec]:
    """Read the `config.json` of a stock Blenderbot."""
    config.must("activation_function", "gelu", default="gelu")
    config.must("is_encoder_decoder", True, default=True)
    config.must("tie_word_embeddings", True, default=True)
    vocab_size = config.integer("vocab_size")
    start = config.token("decoder_start_token_id", vocab_size, 1)
    shape = BlenderbotShape(
        n_layer=config.integer("encoder_layers"),
        d_model=config.integer("d_model"),
        n_head=config.integer("encoder_attention_heads"),
        d_ff=config.integer("encoder_ffn_dim"),
        n_layer_decoder=config.integer("decoder_layers"),
        n_head_decoder=config.integer("decoder_attention_heads"),
        d_ff_decoder=config.integer("decoder_ffn_dim"),
        scale_embedding=config.boolean("scale_embedding", default=False),
    )
    spec = TaskSpec(
        task="sequence_to_sequence",
        head="seq2seq",
        vocab_size=vocab_size,
        context=config.integer("max_position_embeddings", 128),
        bos_token_id=config.token("bos_token_id", vocab_size, 1) if start is None else start,
        eos_token_id=config.token("eos_token_id", vocab_size, 2),
        pad_token_id=config.token("pad_token_id", vocab_size, 0),
    )
    return shape, spec


NATIVE = Native(
    read=_read,
    classes=("BlenderbotForConditionalGeneration",),
    prefix="model.",
    tied=tuple(
        (name, "model.shared.weight")
        for name in (
            "lm_head.weight",
            "model.encoder.embed_tokens.weight",
            "model.decoder.embed_tokens.weight",
        )
    ),
)
