"""A text for a text, written as the task's measurements write it: the likeliest token each time.

Shapes: B batch, S longest source of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.sequence_to_sequence import cut_source
from nas.decoding import greedy_decode, most_written
from nas.errors import InputError
from nas.predicting.rows import by_length, decoded, encoded, frame_of
from nas.tasks.batches import pad_rows, to_device

if TYPE_CHECKING:
    from nas.predicting import Asked, Wanted


class TextWriter:
    """Targets of source texts; a source beyond the context loses its end."""

    def __init__(self, asked: Asked) -> None:
        self._network, self._spec = asked.network, asked.spec
        self._asked, self._frame = asked, frame_of(asked)

    def is_one(self, inputs: Any) -> bool:
        """Say whether it is a text."""
        return isinstance(inputs, str)

    def answers(self, inputs: Sequence[Any], wanted: Wanted) -> list[Any]:
        """Return the target of each source.

        Raises:
            InputError: If `top_k` is given, or an input is no text.
        """
        if wanted.top_k is not None:
            raise InputError("top_k: a sequence_to_sequence model writes one text; leave it out")
        rows = [
            cut_source(tokens, self._spec.context, self._frame)
            for tokens in encoded(self._asked, inputs, wanted.first)
        ]
        written: dict[int, list[int]] = {}
        for places in by_length(rows, wanted.batch):
            found = self._write([rows[place] for place in places])
            written |= zip(places.tolist(), found, strict=True)
        ordered = [written[place] for place in range(len(rows))]
        return decoded(self._asked, ordered)

    def _write(self, rows: Sequence[list[int]]) -> list[list[int]]:
        ids, mask = pad_rows(
            [np.array(row, dtype=np.int64) for row in rows], self._spec.pad_token_id or 0
        )
        found = greedy_decode(
            self._network,
            to_device(ids, self._network),
            to_device(mask, self._network),
            self._spec,
            limit=most_written(ids.shape[1], self._spec),
        )
        # Each as long as it would be by itself, whatever the longest source of the batch.
        return [
            tokens[: most_written(len(row), self._spec)]
            for tokens, row in zip(found, rows, strict=True)
        ]
