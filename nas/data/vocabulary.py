"""The vocabulary of tasks over texts: learned on train, or the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nas.data import bpe
from nas.data.request import DataRequest, Option

OPTIONS = {
    "tokenizer": Option(
        default="bpe", choices=("bpe", "bytes"), help="byte-pair encoding learned here, or bytes"
    ),
    "vocab_size": Option(
        default=4096, minimum=300, maximum=65_536, help="tokens that bpe learns, at most"
    ),
}


def tokenizer_for(
    request: DataRequest,
    texts: Iterable[str],
    special: Sequence[str],
    *,
    single: str,
    pair: str | None,
) -> str:
    """Return the `tokenizer.json` of a trained model as it is, else a learned one with a template.

    Args:
        request: Says which.
        texts: What it is learned from.
        special: The special tokens of a learned one.
        single: Template of a text (see `bpe.with_template`).
        pair: Template of two.
    """
    if request.trained is not None:
        return request.trained.tokenizer
    return bpe.with_template(learn(request, texts, special), single=single, pair=pair)


def learn(request: DataRequest, texts: Iterable[str], special: Sequence[str]) -> str:
    """Return the `tokenizer.json` that the options ask for; special tokens have the first ids."""
    if request.options["tokenizer"] == "bytes":
        return bpe.byte_tokenizer(special)
    size = int(request.options["vocab_size"])
    return bpe.train_bpe(texts, vocab_size=size, special=special)
