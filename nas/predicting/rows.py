"""What predictors share: checked texts, batches of similar length, the likeliest of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import InputError
from nas.predicting import Prediction

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


def encoded(tokenizer: Any, texts: Sequence[Any], first: int) -> list[list[int]]:
    """Return the tokens of each text, special ones left out.

    Args:
        tokenizer: The model's.
        texts: As they are.
        first: Number of the first text, for messages.

    Raises:
        InputError: If a text is none, or has what the vocabulary has not.
    """
    checked = [checked_text(text, number) for number, text in enumerate(texts, start=first)]
    try:
        found = tokenizer.encode_batch(checked, add_special_tokens=False)
    except Exception as error:  # tokenizers raises nothing narrower
        raise InputError(
            f"predict: a text has what the tokenizer does not know ({error}); leave it out"
        ) from error
    return [row.ids for row in found]


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
