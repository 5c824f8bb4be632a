"""Optuna's samplers as strategies: an in-memory study rebuilt from our rows for each proposal.

A sampler proposes repeatedly, and infeasible shapes too; `random.first_new` sees to that.
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
from nas.strategies.outcomes import outcomes
from nas.strategies.random import RandomStrategy, first_new


class SamplerStrategy:
    """Ask one of Optuna's samplers, once there are results to learn from.

    A subclass names the sampler. Candidates without a comparable result are shown as running or
    failed.

    Args:
        space: What to choose from.
        seed: With a candidate's number, the seed of its draw.
        directions: `minimize` or `maximize` for each objective.
    """

    startup = 10  # candidates drawn at random first: the default of Optuna's model-based samplers

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None:
        self._space, self._seed, self._directions = space, seed, tuple(directions)
        self._startup = RandomStrategy(space, seed=seed, directions=directions)
        self._distributions: dict[str, Any] = {
            p.name: IntDistribution(p.low, p.high, step=p.step) for p in space.space.parameters
        }

    def sampler(self, seed: int) -> Any:
        """Return the sampler, whose draws only `seed` decides."""
        raise NotImplementedError

    def marks(self, order: int) -> dict[str, Any]:  # noqa: ARG002  # for subclasses
        """Return what the sampler would have noted on the trial of the `order`-th result."""
        return {}

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return what the sampler makes of the results; None if the space is exhausted."""
        found = outcomes(history, self._directions)
        if int(found.known.sum()) < self.startup:
            return self._startup.propose(history, number)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        with _quiet():
            study = optuna.create_study(
                directions=["minimize"] * len(self._directions), sampler=self.sampler(seed)
            )
            order = np.cumsum(found.known) - 1
            study.add_trials(
                [
                    self._trial(seen, found.values[row] if found.known[row] else None, order[row])
                    for row, seen in enumerate(history)
                ]
            )
            return first_new(self._space, lambda: self._draw(study), history)

    def _trial(self, seen: Observation, values: Any, order: int) -> optuna.trial.FrozenTrial:
        waiting = TrialState.RUNNING if seen.state in ("running", "paused") else TrialState.FAIL
        return create_trial(
            state=waiting if values is None else TrialState.COMPLETE,
            values=None if values is None else [float(value) for value in values],
            params=dict(seen.parameters),
            distributions=self._distributions,
            system_attrs={} if values is None else self.marks(int(order)),
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
