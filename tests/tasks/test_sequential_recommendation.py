"""Recommendation is ranked over all items, and each user's last items are held back."""

from __future__ import annotations

import csv
import random

import numpy as np
import pytest
import torch
from task_cases import CASES, request_for
from torch import nn

from nas.data.rows import Ragged
from nas.errors import DataError
from nas.tasks.sequential_recommendation import IGNORED, SequentialRecommendation
from nas.training.loop import fresh_network

NAME = "sequential_recommendation"


def prepare(folder, events, **changes):
    with (folder / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "time"), *events])
    request = request_for(NAME, str(folder / "log.csv"), **changes)
    return SequentialRecommendation.prepare(request, folder / "data")


def random_log(users, items, length):
    rng = random.Random(0)
    return [
        (user, item, time)
        for user in range(users)
        for time, item in enumerate(rng.sample(range(items), length))
    ]


def test_last_item_is_test_and_the_one_before_it_val(tmp_path):
    prepared = prepare(tmp_path, [("u", f"i{n}", n) for n in range(5)])
    rows = {name: Ragged(prepared, name)[0].tolist() for name in ("train", "val", "test")}
    assert rows == {"train": [1, 2, 3], "val": [1, 2, 3, 4], "test": [1, 2, 3, 4, 5]}


def test_an_untrained_model_hits_ten_in_all_items(tmp_path):
    """No sampled negatives: the hit rate of chance is 10 / items left, not 10 / 100."""
    items, users, length = 200, 2000, 6
    prepared = prepare(tmp_path, random_log(users, items, length))
    rates = []
    for seed in range(3):
        task = SequentialRecommendation(prepared, CASES[NAME].recipe(), seed)
        network = fresh_network(CASES[NAME].shape, prepared.spec, seed).eval()
        with torch.no_grad():
            rates.append(task.evaluate(network, "test", max_tokens=10**9)["hit_rate_10"])
    chance = 10 / (items - (length - 1))
    # 6,000 draws: a standard deviation of .0029; rows of one network are not quite independent
    assert np.mean(rates) == pytest.approx(chance, abs=0.012)


class Constant(nn.Module):
    """The same logit for every item."""

    def __init__(self, size):
        super().__init__()
        self.size, self.weight = size, nn.Parameter(torch.zeros(()))

    def forward(self, ids):
        return torch.zeros(*ids.shape, self.size) + self.weight


def test_equal_logits_are_no_hits_for_free(tmp_path):
    prepared = prepare(tmp_path, random_log(50, 200, 6))
    task = SequentialRecommendation(prepared, CASES[NAME].recipe(), 0)
    with torch.no_grad():
        found = task.evaluate(Constant(prepared.spec.vocab_size), "test", max_tokens=10**9)
    assert found["hit_rate_10"] == 0
    assert found["loss"] == pytest.approx(np.log(prepared.spec.vocab_size - 1), abs=1e-5)


def test_a_history_of_one_item_is_no_example(tmp_path):
    """Of three events two are held back; a batch of such users alone would have no loss at all."""
    short = [(f"s{user}", user % 5, time) for user in range(60) for time in range(3)]
    prepared = prepare(tmp_path, [*short, *(("long", n % 7, n) for n in range(9))])
    task = SequentialRecommendation(prepared, CASES[NAME].recipe(batch=4), 0)
    for step in range(8):
        assert (task.batch(step)[1] != IGNORED).any(axis=1).all()
    assert len(Ragged(prepared, "test")) == 61  # they are asked of all the same


def test_hidden_items_and_padding_are_no_targets(tmp_path):
    prepared = prepare(tmp_path, random_log(40, 30, 9))
    task = SequentialRecommendation(prepared, CASES[NAME].recipe(token_dropout=0.5), 0)
    plain = SequentialRecommendation(prepared, CASES[NAME].recipe(), 0)
    items, targets = task.batch(0)
    assert np.array_equal(targets, plain.batch(0)[1])
    assert (targets != 0).all()
    assert 0.3 < (items == 0).mean() < 0.7


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([("u", "a", 1), ("u", "b", 2), ("v", "a", 1)], "no user has 3 events or more"),
        ([("u", "abc"[n], n) for n in range(3)], "no user has 4 events or more"),
        ([("u", "<pad>", 1), ("u", "b", 2), ("u", "a", 3)], "an item is called '<pad>'"),
        ([("u", "a", "soon")], "event 1: time: got 'soon'"),
    ],
)
def test_a_log_that_teaches_nothing_is_refused(tmp_path, events, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, events)


def test_files_for_each_split_are_refused(tmp_path):
    request = request_for(NAME, {"train": "a.csv", "test": "b.csv"})
    with pytest.raises(DataError, match="expected one log"):
        SequentialRecommendation.prepare(request, tmp_path / "data")
