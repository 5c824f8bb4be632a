"""Optuna's tree-structured Parzen estimator, started with our own feasible draws.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011; as implemented by
optuna.samplers.TPESampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from nas.records import Architecture
from nas.space import BoundSpace
from nas.strategies import Observation
from nas.strategies.random import RandomStrategy, first_new

# Candidates drawn at random first: Optuna's default for its estimator.
STARTUP = 10


class TPEStrategy:
    """Model which parameters good candidates have, and draw more like them.

    Args:
        space: What to choose from.
        seed: With a candidate's number, the seed of its draw.
        directions: `minimize` or `maximize` for each objective.
    """

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None:
        self._space, self._seed = space, seed
        self._directions: list[Any] = list(directions)
        self._startup = RandomStrategy(space, seed=seed, directions=directions)
        self._distributions: dict[str, Any] = {
            p.name: IntDistribution(p.low, p.high, step=p.step) for p in space.space.parameters
        }

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return a shape like the good ones so far; None if the space is exhausted."""
        if sum(seen.values is not None for seen in history) < STARTUP:
            return self._startup.propose(history, number)
        with _quiet():
            study = self._study(history, number)
            return first_new(self._space, lambda: self._draw(study), history)

    def _study(self, history: Sequence[Observation], number: int) -> optuna.Study:
        """Rebuild an in-memory study whose sampler only seed and number decide."""
        sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0]),
            n_startup_trials=0,
            multivariate=True,
            constant_liar=True,  # a running candidate counts as a poor one: workers spread out
        )
        study = optuna.create_study(directions=self._directions, sampler=sampler)
        study.add_trials([self._trial(seen) for seen in history])
        return study

    def _trial(self, seen: Observation) -> optuna.trial.FrozenTrial:
        state = TrialState.RUNNING if seen.state in ("running", "paused") else TrialState.FAIL
        return create_trial(
            state=TrialState.COMPLETE if seen.values is not None else state,
            values=seen.values,
            params=dict(seen.parameters),
            distributions=self._distributions,
        )

    def _draw(self, study: optuna.Study) -> Mapping[str, int]:
        trial = study.ask(self._distributions)
        study.tell(trial, state=TrialState.FAIL)  # this study only serves one proposal
        return {name: int(trial.params[name]) for name in self._distributions}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log lines and experimental warnings from the user's terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
