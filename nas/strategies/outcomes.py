"""What is known of each candidate's result, made comparable: smaller is better, at full budget.

A candidate that was paused has a result at a lower rung only. Those that went on say how much a
result improves from there on average, and that is added; so lower rungs rank among themselves as
they were measured, and stand beside complete ones where they would be expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.strategies import Observation

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """Results of a history.

    Attributes:
        values: Shape (candidate, objective), smaller is better; NaN in a row of which nothing
            comparable is known.
        complete: Whether a row was measured at the full budget.
    """

    values: Floats
    complete: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a row has values."""
        return _filled(self.values)


def outcomes(history: Sequence[Observation], directions: Sequence[str]) -> Outcomes:
    """Return the results of a history, those of lower rungs raised to the full budget.

    From the highest rung down: the mean improvement of the candidates that went on is given to
    those that did not. Where none went on from any rung, the highest one sets the scale.

    Args:
        history: All candidates.
        directions: `minimize` or `maximize` for each objective.
    """
    signs = np.array([-1.0 if way == "maximize" else 1.0 for way in directions])
    values = np.full((len(history), len(signs)), np.nan)
    for row, seen in enumerate(history):
        if seen.values is not None:
            values[row] = signs * seen.values
    complete = _filled(values)
    rungs = [{tokens: signs * found for tokens, found in seen.rungs} for seen in history]
    for tokens in sorted({tokens for measured in rungs for tokens in measured}, reverse=True):
        _raise_rung({row: m[tokens] for row, m in enumerate(rungs) if tokens in m}, values)
    return Outcomes(values=values, complete=complete)


def _raise_rung(measured: dict[int, Floats], values: Floats) -> None:
    """Fill the rows of `values` that have nothing higher than this rung."""
    known = _filled(values)
    went_on = [row for row in measured if known[row]]
    if not went_on and known.any():
        return  # nobody tells how this rung compares with what is known
    gain = np.mean([values[row] - measured[row] for row in went_on], axis=0) if went_on else 0.0
    for row in measured:
        if not known[row]:
            values[row] = measured[row] + gain


def _filled(values: Floats) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values).any(axis=1))


def beaten_by(values: Floats) -> NDArray[np.int64]:
    """Return by how many other rows each row is dominated: no worse anywhere, better somewhere.

    With one objective this is the rank.
    """
    no_worse = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] < values[None, :, :]).any(axis=2)
    return np.asarray((no_worse & better).sum(axis=0))
