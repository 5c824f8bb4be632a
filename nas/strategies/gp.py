"""Optuna's Gaussian process, started with our own feasible draws. Needs scipy.

Source: optuna.samplers.GPSampler; Frazier, "A Tutorial on Bayesian Optimization", 2018,
https://arxiv.org/abs/1807.02811. A proposal takes seconds at some thousand candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import optuna

from nas.errors import NotFoundError
from nas.space import BoundSpace
from nas.strategies.samplers import SamplerStrategy


class GPStrategy(SamplerStrategy):
    """Model the objectives over the parameters and propose where most is to be gained.

    Raises:
        NotFoundError: If scipy is not installed.
    """

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None:
        if find_spec("scipy") is None:
            raise NotFoundError(
                "strategy 'gp' needs scipy, which is not installed; "
                'install it with: pip install "transformer-nas[gp]"'
            )
        super().__init__(space, seed=seed, directions=directions)

    def sampler(self, seed: int) -> optuna.samplers.GPSampler:
        """Return the process, whose measurements have noise as trainings have."""
        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=0, deterministic_objective=False
        )
