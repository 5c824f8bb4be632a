"""Sequence to sequence: a text from a text; loss in nats a token, BLEU and chrF of what is written.

Shapes: B batch, S longest source of the batch, T longest target, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from nas.data import DataRequest, Option, PreparedData, bpe
from nas.data.rows import Ragged
from nas.data.sequence_to_sequence import OPTIONS, TASK, prepare_sequence_to_sequence
from nas.records import IGNORED, Recipe
from nas.tasks.batches import (
    Ints,
    Order,
    in_batches,
    pad_rows,
    spread,
    targets_weight,
    to_device,
    token_loss,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

# Sources of val that are decoded in a measurement: BLEU and chrF of val are for a glance, and
# decoding costs as much as some training. Of test all are.
DECODED_OF_VAL = 128
SCORED = ("source", "reference")


class PairBatch(NamedTuple):
    """Inputs and targets of a step: the decoder reads what it should have written so far."""

    ids_BS: Ints
    mask_BS: Ints
    decoder_ids_BT: Ints
    targets_BT: Ints


class SequenceToSequence:
    """Batches, loss and metrics over pairs of texts.

    Args:
        prepared: The data folder.
        recipe: Gives batch and label smoothing.
        seed: Decides the order.
    """

    name: ClassVar[str] = TASK
    head: ClassVar[str] = "seq2seq"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "bleu", "chrf")
    description: ClassVar[str] = "write a text for a text; csv, tsv or jsonl with source and target"
    options: ClassVar[Mapping[str, Option]] = OPTIONS
    context: ClassVar[int | None] = None
    recipe_fields: ClassVar[frozenset[str]] = frozenset({"label_smoothing"})

    def __init__(self, prepared: PreparedData, recipe: Recipe, seed: int) -> None:
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        self._sources = Ragged(prepared, "train.source")
        self._targets = Ragged(prepared, "train.target")
        lengths = self._sources.lengths + self._targets.lengths
        self._order = Order(len(self._sources), recipe.batch, seed, lengths)

    @staticmethod
    def prepare(request: DataRequest, folder: Path) -> PreparedData:
        """Turn pairs of texts into arrays (see `data.sequence_to_sequence`)."""
        return prepare_sequence_to_sequence(request, folder)

    def batch(self, step: int) -> PairBatch:
        """Return the pairs of a step."""
        return self._pairs(self._sources, self._targets, self._order(step))

    def loss(self, network: nn.Module, batch: PairBatch) -> Tensor:
        """Return the mean cross-entropy of the targets' tokens in nats."""
        logits_MV, targets_M = _predicted(network, batch)
        return token_loss(logits_MV, targets_M, self.recipe.label_smoothing)

    def weight(self, batch: PairBatch) -> float:
        """Return how many tokens are predicted."""
        return targets_weight(batch.targets_BT)

    def evaluate(self, network: nn.Module, split: str, *, max_tokens: int) -> Mapping[str, float]:
        """Return the loss of a split, and BLEU and chrF (0 to 100) of greedy decoding.

        Args:
            network: In eval mode.
            split: `val`, of which at most `DECODED_OF_VAL` sources are decoded, or `test`.
            max_tokens: Tokens to read at most, of pairs spread evenly over the split.
        """
        self.prepared.need(split)
        sources = Ragged(self.prepared, f"{split}.source")
        targets = Ragged(self.prepared, f"{split}.target")
        taken = spread(len(sources), max_tokens // self.prepared.spec.context)
        total, count = 0.0, 0
        for rows in in_batches(taken, sources.lengths + targets.lengths):
            pairs = self._pairs(sources, targets, rows)
            tokens = int((pairs.targets_BT != IGNORED).sum())
            total += float(token_loss(*_predicted(network, pairs))) * tokens
            count += tokens
        decoded = taken if split == "test" else taken[spread(len(taken), DECODED_OF_VAL)]
        return {"loss": total / count, **self._written(network, split, decoded)}

    def _written(self, network: nn.Module, split: str, rows: Ints) -> dict[str, float]:
        import sacrebleu

        from nas.decoding import greedy_decode, most_written

        sources, references = (Ragged(self.prepared, f"{split}.{s}") for s in SCORED)
        spec, written = self.prepared.spec, dict[int, list[int]]()
        for group in in_batches(rows, sources.lengths):
            ids, mask = pad_rows([sources[row] for row in group], self._pad)
            found = greedy_decode(
                network,
                to_device(ids, network),
                to_device(mask, network),
                spec,
                limit=most_written(ids.shape[1], spec),
            )
            written |= zip(group.tolist(), found, strict=True)
        ours = self._texts([written[row] for row in rows.tolist()])
        right = self._texts([references[row].tolist() for row in rows.tolist()])
        return {
            "bleu": float(sacrebleu.corpus_bleu(ours, [right]).score),
            "chrf": float(sacrebleu.corpus_chrf(ours, [right]).score),
        }

    def _texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        with bpe.failures("the tokenizer is damaged"):
            texts: list[str] = self._tokenizer.decode_batch(list(rows), skip_special_tokens=True)
        return texts

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.prepared.folder / "tokenizer.json"))

    def _pairs(self, sources: Ragged, targets: Ragged, rows: Ints) -> PairBatch:
        ids, mask = pad_rows([sources[row] for row in rows], self._pad)
        right, right_mask = pad_rows([targets[row] for row in rows], self._pad)
        begin = np.full((len(rows), 1), self.prepared.spec.bos_token_id, dtype=np.int64)
        decoder_ids = np.concatenate((begin, right[:, :-1]), axis=1)
        return PairBatch(ids, mask, decoder_ids, np.where(right_mask == 1, right, IGNORED))

    @property
    def _pad(self) -> int:
        pad = self.prepared.spec.pad_token_id
        assert pad is not None, "prepared with a padding token"
        return pad


def _predicted(network: nn.Module, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Return the logits of all places of the targets, (B * T, V), and the targets."""
    ids, mask, decoder_ids, targets = (to_device(array, network) for array in batch)
    logits_BTV = network(ids, None if batch.mask_BS.all() else mask, decoder_ids)
    return logits_BTV.flatten(0, 1), targets.flatten()
