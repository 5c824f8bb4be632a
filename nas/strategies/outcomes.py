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
    unknown = (np.nan,) * len(signs)
    full = [unknown if seen.values is None else seen.values for seen in history]
    values = np.array(full, dtype=float).reshape(len(history), len(signs)) * signs
    complete = _filled(values)
    rungs: dict[int, dict[int, tuple[float, ...]]] = {}
    for row, seen in enumerate(history):
        for rung, found in seen.rungs:
            rungs.setdefault(rung, {})[row] = found
    for _, measured in sorted(rungs.items(), reverse=True):
        _raise_rung(np.array(list(measured)), np.array(list(measured.values())) * signs, values)
    return Outcomes(values=values, complete=complete)


def _raise_rung(rows: NDArray[np.int64], measured: Floats, values: Floats) -> None:
    """Fill those of some rows of `values` that have nothing higher than this rung."""
    known = _filled(values)
    went_on = known[rows]
    if not went_on.any() and known.any():
        return  # nobody tells how this rung compares with what is known
    gain = (values[rows] - measured)[went_on].mean(axis=0) if went_on.any() else 0.0
    values[rows[~went_on]] = (measured + gain)[~went_on]


def _filled(values: Floats) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(values).any(axis=1))


def beaten_by(values: Floats) -> NDArray[np.int64]:
    """Return by how many other rows each row is dominated: no worse anywhere, better somewhere.

    With one objective this is the rank.
    """
    no_worse = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] < values[None, :, :]).any(axis=2)
    return np.asarray((no_worse & better).sum(axis=0))
