"""Optuna's NSGA-II, for several objectives; its first generation is of our own feasible draws.

Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002,
https://doi.org/10.1109/4235.996017; as implemented by optuna.samplers.NSGAIISampler.
"""

from __future__ import annotations

from typing import Any

import optuna

from nas.strategies.samplers import SamplerStrategy

# Optuna's default of 50 would leave a search of tens of candidates in its random generation.
POPULATION = 16


class NSGA2Strategy(SamplerStrategy):
    """Cross and mutate the candidates that few others dominate and that lie apart."""

    startup = POPULATION

    def sampler(self, seed: int) -> optuna.samplers.NSGAIISampler:
        """Return the genetic algorithm."""
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)

    def marks(self, order: int) -> dict[str, Any]:
        """Return the generation that the `order`-th result belongs to."""
        key = optuna.samplers.NSGAIISampler._get_generation_key()
        return {key: order // POPULATION}
