"""What predictors share: texts and their tokens, batches of similar length, likeliest labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas.artifact.folder import broken
from nas.artifact.manifest import TOKENIZER_FILES
from nas.artifact.tokenizer import tokenizer_errors
from nas.data import bpe
from nas.errors import InputError
from nas.predicting import Prediction

if TYPE_CHECKING:
    from nas.predicting import Asked

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def by_length(rows: Sequence[Sequence[int]], batch: int) -> Iterator[Ints]:
    """Yield the numbers of all rows in batches of similar length."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(order), batch):
        yield order[start : start + batch]


def checked_text(text: Any, number: int) -> str:
    """Return a text that can be encoded.

    Raises:
        InputError: If it is none, is empty, or has half a character.
    """
    if not isinstance(text, str):
        raise InputError(f"input {number}: got {type(text).__name__}, expected a text")
    if not text.strip():
        raise InputError(f"input {number}: is empty; write something")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"input {number}: character {error.start + 1} is half of one or no UTF-8; write it anew"
        ) from error
    return text


def frame_of(asked: Asked) -> tuple[list[int], list[int]]:
    """Return the ids that stand before a text and after it.

    Raises:
        ArtifactError: If the tokenizer is damaged, or the model does not know one of them.
    """
    with tokenizer_errors(asked.folder):
        before, after = bpe.frame_of(asked.need_tokenizer())
    _check_ids(asked, [before, after])
    return before, after


def encoded(asked: Asked, texts: Sequence[Any], first: int) -> list[list[int]]:
    """Return the tokens of each text, special ones left out.

    Args:
        asked: The model.
        texts: As they are.
        first: Number of the first text, for messages.

    Raises:
        InputError: If a text is none, or has what the vocabulary has not.
        ArtifactError: If the tokenizer is damaged, or gives ids that the model does not know.
    """
    checked = [checked_text(text, number) for number, text in enumerate(texts, start=first)]
    tokenizer = asked.need_tokenizer()
    with tokenizer_errors(asked.folder):
        try:
            found = tokenizer.encode_batch(checked, add_special_tokens=False)
        except Exception as error:  # tokenizers raises nothing narrower; a panic is none
            raise InputError(
                f"predict: a text has what the tokenizer does not know ({error}); leave it out"
            ) from error
    rows = [row.ids for row in found]
    _check_ids(asked, rows)
    return rows


def decoded(asked: Asked, rows: Sequence[list[int]]) -> list[str]:
    """Return the text of each row of ids, special ones left out.

    Raises:
        ArtifactError: If the tokenizer is damaged.
    """
    with tokenizer_errors(asked.folder):
        texts: list[str] = asked.need_tokenizer().decode_batch(rows, skip_special_tokens=True)
    return texts


def _check_ids(asked: Asked, rows: Sequence[list[int]]) -> None:
    highest = max((max(row, default=0) for row in rows), default=0)
    size = asked.spec.vocab_size
    if highest >= size:
        problem = f"gives the id {highest}, the model knows 0 to {size - 1}"
        raise broken(asked.folder, TOKENIZER_FILES[0], problem)


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Return the probabilities of each row."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def likeliest(
    scores: NDArray[np.float64], labels: Sequence[str], count: int, left_out: Sequence[int] = ()
) -> list[Prediction]:
    """Return the `count` likeliest labels, of equals the first, without some."""
    order = np.argsort(-scores, kind="stable")
    if len(left_out):
        order = order[~np.isin(order, left_out)]
    return [
        Prediction(label=labels[place], score=float(scores[place]))
        for place in order[:count].tolist()
    ]
