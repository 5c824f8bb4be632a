"""What the finals may say of two shapes whose seeds overlap, and of two whose do not."""

import pytest

import nas
from nas.finals import compare


def test_the_reference_under_other_seeds_ties_with_itself(configure):
    config = configure(stop={"candidates": 1}, finalists={"top": 1, "seeds": 8})
    rows = nas.search(config).trials(role="reference")
    losses = [row.metrics["val_loss"] for row in sorted(rows, key=lambda row: row.seed)]
    assert len(set(losses)) == 8
    found = compare("val_loss", losses[:4], losses[4:])
    assert found.tie
    assert found.interval[0] < 0 < found.interval[1]


def test_a_difference_beyond_the_spread_is_no_tie():
    found = compare("val_loss", [1.0, 1.01, 0.99], [2.0, 2.01, 1.99])
    assert not found.tie
    assert found.difference == pytest.approx(-1.0)


def test_one_seed_is_always_a_tie():
    found = compare("val_loss", [1.0], [2.0, 2.1, 1.9])
    assert found.tie
    assert found.interval is None
