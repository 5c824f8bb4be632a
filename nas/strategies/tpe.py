"""Optuna's tree-structured Parzen estimator, started with our own feasible draws.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011; as implemented by
optuna.samplers.TPESampler.
"""

from __future__ import annotations

import optuna

from nas.strategies.samplers import SamplerStrategy


class TPEStrategy(SamplerStrategy):
    """Model which parameters good candidates have, and draw more like them."""

    def sampler(self, seed: int) -> optuna.samplers.TPESampler:
        """Return the estimator; a running candidate counts as a poor one: workers spread out."""
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True
        )
