"""Who goes on, who waits, who never will, and what a rung's ranking is worth."""

import numpy as np
import pytest

from nas.strategies import Observation
from nas.strategies.halving import FIRST_FULL, LEAST_PAIRS, Halving


def seen(number, *rungs, full=None, state=None, params=1000.0):
    """A candidate measured at the first rungs, and at the end if `full` is given."""
    return Observation(
        number=number,
        architecture_id=str(number),
        parameters={},
        state=state or ("paused" if full is None else "complete"),
        values=None if full is None else (full,),
        columns={"params": params},
        rungs=tuple((rung, (value,)) for rung, value in enumerate(rungs)),
    )


def rule(rungs=2, direction="minimize", eta=3.0):
    return Halving(rungs=rungs, direction=direction, eta=eta)


def everyone(history):
    return {one.number for one in history}


def test_the_first_candidates_are_trained_to_the_end_and_later_ones_pause():
    goals = [rule().first_goal([], number) for number in range(FIRST_FULL + 2)]
    assert goals == [1] * FIRST_FULL + [0] * 2


def test_the_very_first_of_several_rungs_is_passed_without_a_pause():
    assert rule(rungs=3).first_goal([], FIRST_FULL) == 1


def test_the_best_third_goes_on_one_at_a_time():
    history = [seen(n, loss) for n, loss in enumerate((3.0, 2.0, 2.5, 4.0, 2.2, 3.5))]
    assert rule().promoted(history, everyone(history)) == (1, 1)
    history[1] = seen(1, 2.0, full=1.5)
    assert rule().promoted(history, everyone(history)) == (4, 1)
    history[4] = seen(4, 2.2, full=1.6)
    assert rule().promoted(history, everyone(history)) is None


def test_more_is_better_where_the_objective_says_so():
    history = [seen(n, value) for n, value in enumerate((0.1, 0.9, 0.5))]
    assert rule(direction="maximize").promoted(history, everyone(history)) == (1, 1)


def test_too_few_promote_nobody_and_failures_count_as_measured():
    history = [seen(0, 2.0), seen(1, 3.0)]
    assert rule().promoted(history, everyone(history)) is None
    history.append(seen(2, state="diverged"))
    assert rule().promoted(history, everyone(history)) == (0, 1)


def test_a_higher_rung_is_served_first():
    history = [seen(n, 2.0 + n / 10, 1.9 + n / 10) for n in range(3)]
    history += [seen(n, 1.0) for n in range(3, 12)]
    assert rule(rungs=3).promoted(history, everyone(history)) == (0, 2)


def test_one_without_a_checkpoint_never_goes_on():
    history = [seen(n, 2.0 + n) for n in range(6)]
    assert rule().promoted(history, everyone(history) - {0}) == (1, 1)


def test_eta_of_one_pauses_nobody():
    assert rule(eta=1).first_goal([], 9) == 1


def test_hopeless_are_those_that_the_limit_cannot_promote():
    history = [seen(n, 2.0 + n) for n in range(6)]
    assert rule().without_hope(history, 9) == {3, 4, 5}
    assert rule().without_hope(history, None) == {4, 5}
    assert rule().without_hope(history, 100) == set()


def unlike(count, order, params=1000.0):
    """Candidates that came to the end, which came there in another order."""
    return [
        seen(n, float(n), full=float(at), params=params * (1 + n)) for n, at in enumerate(order)
    ][:count]


def test_a_rung_that_ranks_as_the_end_does_is_kept():
    history = unlike(12, range(12))
    (found,) = rule().fidelity(history)
    assert (found.tau, found.count, found.refuted) == (1.0, 12, False)
    assert rule().first_pause(history) == 0


def test_shuffled_measurements_move_the_first_rung():
    rng = np.random.default_rng(0)
    history = unlike(40, rng.permutation(40))
    first, second = Halving(rungs=3, direction="minimize").fidelity(history)
    assert abs(first.tau) < 0.25
    assert second.tau is None
    assert rule().first_pause(history) == 1
    shuffled = [
        seen(n, one.rungs[0][1][0], one.rungs[0][1][0], full=one.values[0])
        for n, one in enumerate(history)
    ]
    assert rule(rungs=3).first_pause(shuffled) == 2


def test_too_few_refute_nothing():
    history = unlike(LEAST_PAIRS - 1, range(LEAST_PAIRS - 1, -1, -1))
    assert rule().first_pause(history) == 0


def test_whom_a_refuted_rung_holds_goes_on_best_first():
    rng = np.random.default_rng(0)
    history = unlike(40, rng.permutation(40))
    history += [seen(40, 50.0), seen(41, 45.0)]
    assert rule().promoted(history, everyone(history)) == (41, 1)
    assert rule().without_hope(history, 42) == set()


def test_tau_within_a_size_counts_similar_pairs_only():
    small = [seen(n, float(n), full=float(n), params=1000.0 + n) for n in range(5)]
    large = [seen(5 + n, -float(n), full=10.0 + n, params=9000.0 + n) for n in range(5)]
    (found,) = rule().fidelity(small + large)
    assert found.pairs_similar == 20
    assert found.tau_similar == pytest.approx(0.0)
    assert found.tau < 0
