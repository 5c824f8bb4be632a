"""What is kept from call to call says what counting a history anew says."""

import math
import random

import numpy as np
import pytest

from nas.records import FAILED_STATES
from nas.strategies import Observation
from nas.strategies.halving import Halving
from nas.strategies.standings import SIMILAR, Standings

RUNGS = 3  # the full budget included


def a_candidate(number, luck, *, measured=0, state="running", values=None):
    return Observation(
        number=number,
        architecture_id=str(number),
        parameters={},
        state=state,
        values=values,
        columns={"params": luck.uniform(1000, 1500)},
        rungs=tuple((rung, (luck.choice((1.0, 2.0, luck.random())),)) for rung in range(measured)),
    )


def changed(one, luck):
    """What becomes of a candidate next."""
    state, measured = one.state, list(one.rungs)
    values = None
    if state == "running":
        state = luck.choice(("paused", "paused", "diverged", "complete"))
    elif state == "paused":
        state = luck.choice(("running", "complete"))
    if state == "paused" and len(measured) < RUNGS - 1:
        measured.append((len(measured), (luck.choice((1.0, luck.random())),)))
    if state == "complete":
        measured += [(rung, (luck.random(),)) for rung in range(len(measured), RUNGS - 1)]
        values = (luck.choice((0.5, luck.random())),)
    return Observation(
        number=one.number,
        architecture_id=one.architecture_id,
        parameters={},
        state=state,
        values=values,
        columns=one.columns,
        rungs=tuple(measured),
    )


def histories(seed, steps=60):
    """Histories of one search, each a step on from the one before."""
    luck = random.Random(seed)
    history = []
    for _ in range(steps):
        moving = [one for one in history if one.state in ("running", "paused")]
        if moving and luck.random() < 0.6:
            one = luck.choice(moving)
            history[one.number] = changed(one, luck)
        else:
            history.append(a_candidate(len(history), luck))
        yield tuple(history)


def ranked(history, rung):
    """Who was measured at a rung, best first, then who failed before it."""
    found = [(v[0], n) for n, one in enumerate(history) for at, v in one.rungs if at == rung]
    order = [number for _, number in sorted(found)]
    failed = [n for n, one in enumerate(history) if one.state in FAILED_STATES]
    return order + [number for number in failed if number not in order]


def waits(one, rung):
    return one.state == "paused" and max((at for at, _ in one.rungs), default=-1) == rung


def kendall(history, rung):
    """Tau and pairs, of all and of similar size, by every pair."""
    both = [
        (v[0], one.values[0], one.columns["params"])
        for one in history
        if one.values is not None
        for at, v in one.rungs
        if at == rung
    ]
    early, late, size = np.array(both, dtype=float).reshape(-1, 3).T
    similar = abs(np.log(size[:, None] / size[None, :])) <= math.log1p(SIMILAR)
    found = []
    for counted in (np.ones_like(similar), similar):
        upper = np.triu(counted, k=1)
        first = np.sign(early[:, None] - early[None, :])[upper]
        second = np.sign(late[:, None] - late[None, :])[upper]
        untied = math.sqrt(np.count_nonzero(first) * np.count_nonzero(second))
        found.append((float((first * second).sum() / untied) if untied else None, int(upper.sum())))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_rungs_are_kept_as_they_would_be_counted(seed):
    standings = Standings(rungs=RUNGS - 1, sign=1.0)
    for history in histories(seed):
        for at, rung in enumerate(standings.follow(history)):
            order = ranked(history, at)
            assert rung.ranked == len(order)
            assert [number for _, number in rung.measured] == order[: len(rung.measured)]
            paused = [number for number in order if waits(history[number], at)]
            assert [number for _, number in rung.paused] == paused
            for rank in (0, len(order) // 3, len(order)):
                assert rung.paused_from(rank) == set(order[rank:]) & set(paused)
            both = kendall(history, at)
            pairs = rung.agreement.every, rung.agreement.similar
            assert [(one.tau, one.count) for one in pairs] == both


@pytest.mark.parametrize("seed", range(3))
def test_a_rule_that_was_asked_before_answers_as_one_that_was_not(seed):
    old = Halving(rungs=RUNGS, direction="minimize", eta=2)
    resumable = set(range(0, 60, 2)) | set(range(0, 60, 3))
    for history in histories(seed):
        new = Halving(rungs=RUNGS, direction="minimize", eta=2)
        for rule in (old, new):
            rule.answers = (
                rule.promoted(history, resumable),
                rule.best_paused(history, resumable),
                rule.without_hope(history, 80),
                rule.fidelity(history),
                rule.first_pause(history),
            )
        assert old.answers == new.answers


def test_a_shorter_history_is_another_one():
    first, *_, last = histories(0)  # the first one runs
    standings = Standings(rungs=RUNGS - 1, sign=1.0)
    standings.follow(last)
    assert [rung.ranked for rung in standings.follow(first)] == [0] * (RUNGS - 1)


def test_a_list_that_was_changed_in_place_is_looked_at_again():
    history = list(list(histories(1))[-1])
    standings = Standings(rungs=RUNGS - 1, sign=1.0)
    standings.follow(history)
    paused = next(one for one in history if one.state == "paused" and one.rungs)
    history[paused.number] = changed(paused, random.Random(0))
    numbers = {n for rung in standings.follow(history) for _, n in rung.paused}
    assert paused.number not in numbers
