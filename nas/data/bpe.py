"""Tokenizers as `tokenizer.json` texts: byte-pair encoding learned here, bytes, whole lines.

Special tokens have the first ids. A corpus is encoded so that no text of it can become one.
Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016; over
bytes: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from nas.data import byte_level
from nas.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from nas.data.request import DataRequest

LEAST_FREQUENT = 2  # pairs that occur once teach nothing


def train_bpe(texts: Iterable[str], *, vocab_size: int, special: Sequence[str]) -> str:
    """Return a byte-level BPE tokenizer learned from texts; the same texts give the same.

    Args:
        texts: What it is learned from.
        vocab_size: Tokens at most, special ones and the 256 bytes included.
        special: The special tokens, which get the first ids.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_FREQUENT,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _text(tokenizer)


def byte_tokenizer(special: Sequence[str]) -> str:
    """Return a tokenizer whose tokens are the bytes of UTF-8, after the special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ids = {name: number for number, name in enumerate(special)}
    ids |= {letter: len(special) + byte for byte, letter in enumerate(byte_level.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    return _text(tokenizer)


def word_tokenizer(words: Sequence[str], special: Sequence[str]) -> str:
    """Return a tokenizer of whole lines: each line of a text is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    ids = {word: number for number, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab=ids))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\n+"), behavior="removed")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(special))
    return _text(tokenizer)


def with_template(tokenizer_json: str, *, single: str, pair: str | None) -> str:
    """Return the tokenizer with special tokens put around a text or a pair of texts.

    Args:
        tokenizer_json: As the functions above return it.
        single: Such as `[CLS] $A [SEP]`.
        pair: The same for two texts, with `$B`; None: pairs get no tokens of their own.
    """
    from tokenizers import processors

    tokenizer = _read(tokenizer_json)
    names = sorted({name for name in f"{single} {pair or ''}".split() if "$" not in name})
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in names],
    )
    return _text(tokenizer)


def encode(tokenizer_json: str, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Return the ids of each text.

    Args:
        tokenizer_json: The tokenizer.
        texts: Special tokens that stand in them as text are encoded as the text that they are.
        special: Whether the template's tokens are put around.

    Raises:
        DataError: If the vocabulary is of whole lines and does not have one.
    """
    tokenizer = read_tokenizer(tokenizer_json)
    tokenizer.encode_special_tokens = True
    with failures("a text has a word that the vocabulary does not, or the tokenizer is damaged"):
        rows = tokenizer.encode_batch(list(texts), add_special_tokens=special)
    return [row.ids for row in rows]


def is_failure(error: BaseException) -> bool:
    """Say whether the tokenizers library may raise it: `Exception`s, and panics, which are none."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


@contextmanager
def failures(problem: str) -> Iterator[None]:
    """Turn what the library raises into a `DataError`."""
    try:
        yield
    except BaseException as error:
        if not is_failure(error):
            raise
        raise DataError(f"{problem} ({error})") from error


def frame_of(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer's template puts before a text and after it.

    Raises:
        DataError: If the tokenizer is damaged.
    """
    with failures("the tokenizer is damaged"):
        framed = tokenizer.encode("a")
    inner = [place for place, special in enumerate(framed.special_tokens_mask) if not special]
    if not inner:
        raise DataError("the tokenizer is damaged (it has no token for the letter a)")
    return framed.ids[: inner[0]], framed.ids[inner[-1] + 1 :]


def read_tokenizer(tokenizer_json: str) -> Tokenizer:
    """Return a tokenizer that neither cuts nor fills texts by itself.

    Raises:
        DataError: If it is damaged.
    """
    tokenizer = _read(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def size_of(tokenizer_json: str) -> int:
    """Return how many tokens a tokenizer has."""
    return int(_read(tokenizer_json).get_vocab_size())


def tokenizer_config(
    context: int,
    *,
    keep: Literal["beginning", "end"] = "beginning",
    text_only: bool = False,
    **special: str,
) -> dict[str, Any]:
    """Return the content of the `tokenizer_config.json` that transformers' AutoTokenizer reads.

    Args:
        context: Longest input in tokens.
        keep: Which end of a longer text is kept when it is truncated.
        text_only: Whether special tokens that stand in a text are text, as in `encode`; a prompt
            for a language model may have the end token.
        special: Which special token is `bos`, `eos`, `pad`, `cls`, `sep` or `mask`.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "truncation_side": {"beginning": "right", "end": "left"}[keep],
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": text_only,
        **{f"{role}_token": name for role, name in special.items()},
    }


def tokenizer_files(request: DataRequest, tokenizer: str, **settings: Any) -> Mapping[str, str]:
    """Return what a model folder holds of a tokenizer: those of a trained model, or new ones.

    Args:
        request: For which model, and its context.
        tokenizer: The content of `tokenizer.json`.
        settings: See `tokenizer_config`.
    """
    if request.trained is not None:
        return request.trained.files
    config = tokenizer_config(request.context, **settings)
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": to_json(config)}


def to_json(plain: Any) -> str:
    """Return indented JSON."""
    return json.dumps(plain, indent=2) + "\n"


def _read(tokenizer_json: str) -> Tokenizer:
    from tokenizers import Tokenizer

    with failures("the tokenizer is damaged"):
        return Tokenizer.from_str(tokenizer_json)


def _text(tokenizer: Tokenizer) -> str:
    return str(tokenizer.to_str(pretty=True))
