"""Pairs of texts: what the decoder reads, how what it writes is scored, and wrong pairs."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import sacrebleu
import torch
from task_cases import CASES, request_for

from nas.data.rows import Ragged
from nas.errors import DataError
from nas.tasks.sequence_to_sequence import IGNORED, SequenceToSequence
from nas.training.loop import fresh_network

NAME = "sequence_to_sequence"


def prepare(folder, pairs, **changes):
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("source", "target"), *pairs])
    request = request_for(NAME, str(folder / "pairs.csv"), **changes)
    return SequenceToSequence.prepare(request, folder / "data")


def test_decoder_reads_what_it_should_have_written_so_far(prepared_for):
    prepared = prepared_for(NAME)
    batch = SequenceToSequence(prepared, CASES[NAME].recipe(), 0).batch(3)
    spec = prepared.spec
    assert (batch.decoder_ids_BT[:, 0] == spec.bos_token_id).all()
    for ids, targets in zip(batch.decoder_ids_BT, batch.targets_BT, strict=True):
        length = int((targets != IGNORED).sum())
        assert targets[length - 1] == spec.eos_token_id
        assert np.array_equal(ids[1:length], targets[: length - 1])
        assert (targets[length:] == IGNORED).all()


def test_a_model_that_writes_the_targets_scores_100(prepared_for, monkeypatch):
    prepared = prepared_for(NAME)
    task = SequenceToSequence(prepared, CASES[NAME].recipe(), 0)
    sources = Ragged(prepared, "test.source")  # this task copies

    def copy(network, ids_BS, mask_BS, spec, *, limit):
        return [row[mask == 1].tolist()[:-1] for row, mask in zip(ids_BS, mask_BS, strict=True)]

    monkeypatch.setattr("nas.decoding.greedy_decode", copy)
    network = fresh_network(CASES[NAME].shape, prepared.spec, 0).eval()
    assert len(sources) > 8
    with torch.no_grad():
        found = task.evaluate(network, "test", max_tokens=10**9)
    assert (found["bleu"], found["chrf"]) == (pytest.approx(100), pytest.approx(100))


def test_scores_are_those_of_sacrebleu_on_the_texts(prepared_for):
    prepared = prepared_for(NAME)
    task = SequenceToSequence(prepared, CASES[NAME].recipe(), 0)
    network = fresh_network(CASES[NAME].shape, prepared.spec, 0).eval()
    sources, targets = (Ragged(prepared, f"test.{side}") for side in ("source", "target"))
    from nas.decoding import greedy_decode

    ours = []
    with torch.no_grad():
        found = task.evaluate(network, "test", max_tokens=10**9)
        for row in range(len(sources)):  # one by one, so without padding
            ids = torch.from_numpy(np.asarray(sources[row], dtype=np.int64))[None]
            ours += greedy_decode(network, ids, None, prepared.spec, limit=16)
    right = task._texts([targets[row].tolist() for row in range(len(targets))])
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(task._texts(ours), [right]).score)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "b"), ("c", " ")], "example 2 has an empty target; leave it out"),
        ([("", "b"), ("c", "d")], "example 1 has an empty source"),
    ],
)
def test_empty_texts_are_refused(tmp_path, pairs, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, pairs)


def test_what_is_written_is_scored_against_whole_targets(tmp_path):
    long = "a target that is longer than the model's context, which would hide its end"
    pairs = [(f"{number} words", f"{number} {long}") for number in range(40)]
    prepared = prepare(tmp_path, pairs, options={"tokenizer": "bytes"}, context=10)
    assert len(Ragged(prepared, "test.target")[0]) == 10
    task = SequenceToSequence(prepared, CASES[NAME].recipe(), 0)
    whole = Ragged(prepared, "test.reference")
    assert task._texts([whole[0].tolist()])[0].endswith(long)
    network = fresh_network(CASES[NAME].shape, prepared.spec, 0).eval()
    with torch.no_grad():
        found = task.evaluate(network, "test", max_tokens=10**9)
    assert found["chrf"] < 20  # ten bytes say little of eighty


def test_long_texts_lose_their_end_and_keep_the_end_token(tmp_path):
    prepared = prepare(
        tmp_path, [("word " * 50, "more " * 50)] * 20, options={"tokenizer": "bytes"}, context=10
    )
    for side in ("source", "target"):
        row = Ragged(prepared, f"train.{side}")[0]
        assert len(row) == 10
        assert row[-1] == prepared.spec.eos_token_id
