"""The hypervolume against counting, and where a study measures it from."""

from itertools import product

import numpy as np
import pytest

from nas.store.hypervolume import FIRST, front_summary, hypervolume, reference_point
from nas.study import open_study


def counted(points, reference):
    """The volume in unit cells: those with a point at or below their lower corner."""
    cells = product(*(range(end) for end in reference))
    return sum(
        any(all(x <= c for x, c in zip(p, cell, strict=True)) for p in points) for cell in cells
    )


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_volume_is_what_counting_cells_gives(dimensions):
    rng = np.random.default_rng(dimensions)
    for _ in range(40):
        points = [tuple(map(int, p)) for p in rng.integers(0, 7, (rng.integers(0, 9), dimensions))]
        reference = (6,) * dimensions
        assert hypervolume(points, reference) == counted(points, reference)


def test_volume_of_known_fronts():
    assert hypervolume([], (1.0, 1.0)) == 0
    assert hypervolume([(0.5, 0.5)], (1.0, 1.0)) == 0.25
    assert hypervolume([(0.0, 0.5), (0.5, 0.0)], (1.0, 1.0)) == 0.75
    assert hypervolume([(0.5, 0.5), (0.75, 0.75), (0.5, 0.5)], (1.0, 1.0)) == 0.25
    assert hypervolume([(2.0, 0.0), (1.0, 0.0)], (1.0, 1.0)) == 0


def test_optuna_agrees():
    private = pytest.importorskip("optuna._hypervolume")
    points = np.random.default_rng(0).random((30, 3))
    reference = np.ones(3)
    theirs = private.compute_hypervolume(points, reference)
    assert hypervolume(points.tolist(), reference.tolist()) == pytest.approx(theirs)


@pytest.fixture
def measure(store, study, build):
    """Stores complete candidates with a loss, a latency and a throughput."""

    def measure(number, loss, latency, throughput=1.0, **changes):
        candidate = build.candidate(seed=number)
        build.add(store, study, candidate, number=number, **changes)
        times = {"latency_ms": latency, "throughput": throughput}
        evaluation = build.evaluation(1, loss, **{"": times})
        store.record_outcome(study, build.outcome(candidate, evaluation))
        return candidate.id

    return measure


def test_reference_point_is_a_tenth_beyond_the_worst_of_the_first(store, study, measure):
    for number in range(FIRST):
        measure(number, 2.0 + number, 20.0 - number, 100.0 - number)
    measure(FIRST, 99.0, 99.0)
    rows = store.rows(study)
    found = reference_point(rows, ["val_loss", "latency_ms", "throughput"])
    assert found == pytest.approx([11 * 1.1, 20 * 1.1, 91 * 0.9])
    assert reference_point([], ["val_loss", "latency_ms"]) is None
    assert reference_point(rows, ["val_loss", "nothing"]) is None


def test_front_summary_leaves_out_the_finals(store, study, measure):
    good = measure(0, 2.0, 3.0)
    small = measure(1, 3.0, 1.0)
    measure(2, 3.0, 4.0)
    measure(3, 1.0, 0.5, role="finalist")
    found = front_summary(store.rows(study), ["val_loss", "latency_ms"], [4.0, 5.0])
    assert found == {
        "candidates": [good, small],
        "hypervolume": 2 * 2 + 1 * 2,
        "reference_point": {"val_loss": 4.0, "latency_ms": 5.0},
    }
    assert open_study(store.url).pareto(["val_loss", "latency_ms"])[0].candidate_id == good
    assert front_summary([], ["val_loss", "latency_ms"]) is None
