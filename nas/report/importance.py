"""How much each dimension matters for being among the best: Optuna's PED-ANOVA.

Source: Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces", IJCAI 2023, https://arxiv.org/abs/2304.10255.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.report.axes import Axis
from nas.store.mirror import quiet

FEWEST = 10  # candidates below which nothing is said
# The best tenth, but five candidates at least: fewer say little, by Optuna's documentation.
TOP, TOP_CANDIDATES = 0.1, 5


def shares(
    axes: Sequence[Axis], values: Sequence[float], *, maximised: bool
) -> tuple[dict[str, float], int]:
    """Return the share of each axis, largest first, and how many candidates are the best.

    Args:
        axes: Those on which the candidates differ.
        values: Their objective.
        maximised: Whether more is better.
    """
    import optuna

    share = max(TOP, TOP_CANDIDATES / len(values))
    ways: dict[str, optuna.distributions.BaseDistribution] = {
        axis.name: optuna.distributions.FloatDistribution(min(axis.values), max(axis.values))
        for axis in axes
    }
    with quiet():
        study = optuna.create_study(direction="maximize" if maximised else "minimize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={axis.name: axis.values[at] for axis in axes},
                    distributions=ways,
                    value=value,
                )
                for at, value in enumerate(values)
            ]
        )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}, math.ceil(share * len(values))
