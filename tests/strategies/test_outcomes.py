"""Results at lower rungs stand beside complete ones where they would be expected."""

import numpy as np

from nas.strategies import Observation
from nas.strategies.outcomes import beaten_by, outcomes


def seen(*, full=None, **rungs):
    """A candidate with a value at the full budget and values at rungs such as `r100`."""
    return Observation(
        number=0,
        architecture_id="",
        parameters={},
        state="complete" if full is not None else "paused",
        values=None if full is None else (full,),
        rungs=tuple((int(name[1:]), (value,)) for name, value in rungs.items()),
    )


def values(*history, directions=("minimize",)):
    return outcomes(history, directions).values[:, 0].tolist()


def test_a_paused_candidate_gains_what_those_gained_that_went_on():
    found = outcomes(
        [seen(full=2.0, r100=3.0), seen(full=2.2, r100=3.4), seen(r100=5.0)], ["minimize"]
    )
    np.testing.assert_allclose(found.values[:, 0], [2.0, 2.2, 5.0 - 1.1])
    assert found.complete.tolist() == [True, True, False]


def test_gains_add_up_over_rungs():
    history = [seen(full=1.0, r200=2.0), seen(r100=4.0, r200=3.0), seen(r100=6.0)]
    np.testing.assert_allclose(values(*history), [1.0, 2.0, 4.0])


def test_without_complete_candidates_the_highest_rung_sets_the_scale():
    np.testing.assert_allclose(values(seen(r100=4.0, r200=3.0), seen(r100=6.0)), [3.0, 5.0])


def test_a_rung_from_which_nobody_went_on_stays_unknown():
    found = outcomes([seen(full=1.0), seen(r100=4.0), seen()], ["minimize"])
    assert found.known.tolist() == [True, False, False]


def test_a_maximised_objective_changes_its_sign():
    assert values(seen(full=0.9, r100=0.5), seen(r100=0.4), directions=["maximize"]) == [-0.9, -0.8]


def test_beaten_by_counts_those_that_dominate():
    points = np.array([[1.0, 1.0], [1.0, 2.0], [2.0, 2.0], [0.5, 9.0]])
    assert beaten_by(points).tolist() == [0, 1, 2, 0]
    assert beaten_by(np.array([[3.0], [1.0], [2.0]])).tolist() == [2, 0, 1]
