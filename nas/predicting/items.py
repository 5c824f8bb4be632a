"""The next items of a history, ranked as the task's measurements rank them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.sequential_recommendation import PAD
from nas.errors import InputError, nearest
from nas.predicting.rows import by_length, likeliest, softmax
from nas.tasks.sequential_recommendation import last_logits

if TYPE_CHECKING:
    from nas.predicting import Asked, Prediction, Wanted

USUAL = 10  # items of an answer, as the task's hit rate counts them


class ItemRanker:
    """Next items of histories, whose last `context` items are read."""

    def __init__(self, asked: Asked) -> None:
        self._network, self._spec = asked.network, asked.spec
        self._tokenizer = asked.need_tokenizer()

    def is_one(self, inputs: Any) -> bool:
        """Say whether it is a history rather than several."""
        return isinstance(inputs, str) or (
            isinstance(inputs, Sequence) and bool(inputs) and isinstance(inputs[0], (str, int))
        )

    def answers(self, inputs: Sequence[Any], wanted: Wanted) -> list[Any]:
        """Return the `top_k` likeliest next items of each history, 10 if it is None."""
        histories = [
            self._tokens(one, number) for number, one in enumerate(inputs, start=wanted.first)
        ]
        read = [tokens[-self._spec.context :] for tokens in histories]
        found: dict[int, list[Prediction]] = {}
        for places in by_length(read, wanted.batch):
            rows = [np.array(read[place], dtype=np.int64) for place in places]
            scores = softmax(last_logits(self._network, rows))
            for place, row in zip(places.tolist(), scores, strict=True):
                left_out = [PAD, *histories[place]] if wanted.exclude_seen else [PAD]
                found[place] = likeliest(row, self._names, wanted.top_k or USUAL, left_out)
        return [found[place] for place in range(len(histories))]

    @cached_property
    def _names(self) -> list[str]:
        size = self._spec.vocab_size
        return [self._tokenizer.id_to_token(token) or "" for token in range(size)]

    def _tokens(self, history: Any, number: int) -> list[int]:
        if isinstance(history, str) or not isinstance(history, Iterable):
            raise InputError(
                f"input {number}: got {type(history).__name__}, expected a history: a list of "
                "items' names, the oldest first"
            )
        tokens = [self._token(item, number) for item in history]
        if not tokens:
            raise InputError(f"input {number}: is an empty history; it needs an item at least")
        return tokens

    def _token(self, item: Any, number: int) -> int:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise InputError(
                f"input {number}: got an item of {type(item).__name__}, expected its name"
            )
        token = self._tokenizer.token_to_id(str(item))
        if token is None or token == PAD or token >= self._spec.vocab_size:
            raise InputError(
                f"input {number}: the model does not know the item '{item}'"
                f"{nearest(str(item), self._names[1:])}"
            )
        return int(token)
