"""The default: large shapes first, then a model of the loss decides, and some draws stay free.

Without results large and balanced shapes, of rather many heads, are the best guess under a cap.
After a few of those, one from the lower half of the sizes shows whether larger is better under this
budget at all, unless the reference has shown it. From then on a model of the result from size and
shape (`loss_model`) scores fresh draws and neighbours of the best so far by the improvement that it
expects, which includes what it is unsure of. Several objectives are weighed at random for each
proposal, over a function drawn from each one's model.

A warm start is a further belief about the loss (`loss_model.Learned`), trusted most at first; with
it the largest shapes are not tried unasked. Own results move the odds of all beliefs, so that
evidence that misleads is dropped after a few.

Sources: expected improvement: Jones et al., "Efficient Global Optimization of Expensive Black-Box
Functions", 1998, https://doi.org/10.1023/A:1008306431147; random weights: Knowles, "ParEGO", 2006,
https://doi.org/10.1109/TEVC.2005.851274; drawn functions: Thompson, 1933.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import erf, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from nas.records import FAILED_STATES, Architecture
from nas.space import BoundSpace
from nas.strategies import Evidence, Observation
from nas.strategies.evolution import mutated
from nas.strategies.features import SIZE, Features
from nas.strategies.loss_model import (
    ANYTHING,
    LARGER_IS_BETTER,
    Belief,
    Learned,
    LossModel,
    standardised,
)
from nas.strategies.outcomes import Floats, outcomes
from nas.strategies.random import RandomStrategy

WHOLE = 1024  # shapes of a space that is scored whole
POOL = 256  # draws of a larger one that every proposal scores; their spread scales the features
FRESH = 64  # shapes that only this proposal scores: draws and neighbours of the best
RECENT = 256  # results that move the share of neighbours
INCUMBENTS = 8  # of which neighbours are scored
# Candidates before one from the lower half of the sizes is asked for and doubt begins whether
# larger is better. Earlier would cost where it is, later where it is not.
LARGE_FIRST = 5
RANDOM_SHARE = 0.06  # of proposals, which no model can prevent
WARM_ODDS = 4.0  # of another study's results against all that is believed without them
CHEBYSHEV_SLOPE = 0.05  # of the sum beside the worst objective, as in ParEGO


@dataclass(frozen=True, kw_only=True, slots=True)
class _Option:
    """A shape that may be proposed."""

    architecture: Architecture
    id: str
    parameters: Mapping[str, int]
    columns: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Results:
    """What came of the candidates so far; one row a candidate with a result.

    Attributes:
        rows: Their places in the history.
        values: Standardised objectives, smaller is better, shape (row, objective).
        complete: Which were measured at the full budget.
        weights: How the objectives are weighed this time.
        merit: The weighed objectives, smaller is better.
    """

    rows: NDArray[np.int64]
    values: Floats
    complete: NDArray[np.bool_]
    weights: Floats
    merit: Floats


Scorer = Callable[[Sequence[_Option]], Floats]


class AutoStrategy:
    """Begin with what is known of Transformers, then follow the results.

    Args:
        space: What to choose from.
        seed: With a candidate's number, the seed of its draws.
        directions: `minimize` or `maximize` for each objective.
    """

    def __init__(self, space: BoundSpace, *, seed: int, directions: Sequence[str]) -> None:
        self._space, self._seed, self._directions = space, seed, tuple(directions)
        self._random = RandomStrategy(space, seed=seed, directions=directions)
        self._evidence: tuple[Evidence, ...] = ()

    def learn(self, evidence: Sequence[Evidence]) -> None:
        """Take in what another study measured of shapes of this space."""
        self._evidence = tuple(evidence)

    def propose(self, history: Sequence[Observation], number: int) -> Architecture | None:
        """Return the most promising new shape; None if the space is exhausted."""
        rng = np.random.default_rng([self._seed, number])
        found = _results(history, self._directions, rng)
        options = self._options(history, found, rng)
        by_chance = len(history) > LARGE_FIRST and rng.random() < RANDOM_SHARE
        if by_chance or not options:
            return self._random.propose(history, number)
        if self._small_is_due(history):
            return self._small(options, rng)
        scorer = self._scorer(history, found, rng)
        scores = scorer(options)
        if not self._whole:  # climb from the best scored
            best = [options[at].parameters for at in np.argsort(-scores)[:INCUMBENTS]]
            taken = {seen.architecture_id for seen in history} | {option.id for option in options}
            climbed = self._new(self._neighbours(best, FRESH // 2, rng), taken)
            options, scores = options + climbed, np.append(scores, scorer(climbed))
        return options[int(np.argmax(scores))].architecture

    @cached_property
    def _whole(self) -> bool:
        return self._space.size() <= WHOLE

    @cached_property
    def _pool(self) -> list[_Option]:
        """Every shape of a small space, else draws that only the seed decides."""
        if self._whole:
            return self._new(self._space.architectures(), set())
        rng = np.random.default_rng([self._seed])
        return self._new((self._space.sample(rng) for _ in range(POOL)), set())

    @cached_property
    def _features(self) -> Features:
        return Features(self._space, [(o.parameters, o.columns) for o in self._pool])

    def _options(
        self, history: Sequence[Observation], found: _Results, rng: np.random.Generator
    ) -> list[_Option]:
        """Return new shapes: the pool's, fresh draws, neighbours of the best; none twice."""
        taken = {seen.architecture_id for seen in history}
        options = [option for option in self._pool if option.id not in taken]
        if self._whole:
            return options
        taken |= {option.id for option in options}
        best = [history[found.rows[at]].parameters for at in np.argsort(found.merit)[:INCUMBENTS]]
        near = round(FRESH // 2 * _share_of_neighbours(history, found)) if best else 0
        draws = (self._space.sample(rng) for _ in range(FRESH // 2 - near))
        options += self._new(draws, taken)
        return options + self._new(self._neighbours(best, near, rng), taken)

    def _neighbours(
        self, parents: Sequence[Mapping[str, int]], count: int, rng: np.random.Generator
    ) -> Iterable[Architecture]:
        """Yield those of `count` mutations that are feasible."""
        for _ in range(count):
            parent = parents[int(rng.integers(len(parents)))]
            found = self._space.at(mutated(self._space.space.parameters, parent, rng))
            if found is not None:
                yield found

    def _new(self, found: Iterable[Architecture], taken: set[str]) -> list[_Option]:
        """Return shapes that are not taken yet and take them."""
        options = []
        for architecture in found:
            if (own := architecture.id) not in taken:
                taken.add(own)
                options.append(
                    _Option(
                        architecture=architecture,
                        id=own,
                        parameters=self._space.space.encode(architecture),
                        columns=self._space.columns(architecture),
                    )
                )
        return options

    # The lower half of the sizes

    @cached_property
    def _middle(self) -> float:
        return float(np.median([option.columns[SIZE] for option in self._pool]))

    def _small_is_due(self, history: Sequence[Observation]) -> bool:
        if self._evidence:
            return False
        sizes = [seen.columns[SIZE] for seen in history]
        return len(sizes) == LARGE_FIRST and min(sizes) > self._middle

    def _small(self, options: Sequence[_Option], rng: np.random.Generator) -> Architecture:
        small = [option for option in options if option.columns[SIZE] <= self._middle]
        found = small or sorted(options, key=lambda option: option.columns[SIZE])[:1]
        return found[rng.integers(len(found))].architecture

    # The model

    def _scorer(
        self, history: Sequence[Observation], found: _Results, rng: np.random.Generator
    ) -> Scorer:
        """Return a function that scores options; more is better."""
        models = [self._model(history, found, at) for at in range(len(self._directions))]
        if len(models) == 1 and len(history) < LARGE_FIRST:
            return lambda options: -models[0].predict(self._of(options)).mean
        if len(models) == 1:
            best = found.merit.min() if len(found.rows) else None
            return lambda options: self._expected_gain(models[0], options, best)
        drawn = [model.draw(rng) for model in models]

        def score(options: Sequence[_Option]) -> Floats:
            features = self._of(options)
            says = np.stack([function(features) for function in drawn], axis=1)
            return -_weighed(says, found.weights)

        return score

    def _model(self, history: Sequence[Observation], found: _Results, objective: int) -> LossModel:
        seen = [history[row] for row in found.rows]
        waiting = [one for one in history if one.state in ("running", "interrupted")]
        beliefs: tuple[Belief | Learned, ...] = (LARGER_IS_BETTER, ANYTHING)
        if objective > 0:  # the first one is of the training; costs, say, grow with size
            beliefs = (ANYTHING,)
        elif self._evidence:
            beliefs = (self._learned, *beliefs)
        elif len(history) <= LARGE_FIRST:
            beliefs = (LARGER_IS_BETTER,)
        return LossModel(
            self._of(seen),
            found.values[:, objective],
            complete=found.complete,
            pending=self._of(waiting),
            beliefs=beliefs,
            rate=self._features.rate if objective == 0 else None,
            heads=self._features.heads if objective == 0 else None,
        )

    @cached_property
    def _learned(self) -> Learned:
        sign = -1.0 if self._directions[0] == "maximize" else 1.0
        results = sign * np.array([one.value for one in self._evidence])
        model = LossModel(
            self._of(self._evidence),
            standardised(results),
            complete=np.full(len(results), fill_value=True),
            pending=self._of([]),
            beliefs=(LARGER_IS_BETTER, ANYTHING),
            rate=self._features.rate,
            heads=self._features.heads,
        )
        return model.as_belief(WARM_ODDS)

    def _expected_gain(
        self, model: LossModel, options: Sequence[_Option], best: float | None
    ) -> Floats:
        predicted = model.predict(self._of(options))
        gains = expected_improvement(predicted.means, predicted.sds, best)
        return np.asarray(predicted.weights @ gains)

    def _of(self, shapes: Sequence[_Option] | Sequence[Observation] | Sequence[Evidence]) -> Floats:
        return self._features([(shape.parameters, shape.columns) for shape in shapes])


def expected_improvement(means: Floats, sds: Floats, best: float | None) -> Floats:
    """Return by how much results are expected to fall below the best; of none, below 0."""
    gap = (0.0 if best is None else best) - means
    z = gap / sds
    below = 0.5 * (1 + _erf(z / sqrt(2)))
    return np.asarray(gap * below + sds * np.exp(-z * z / 2) / sqrt(2 * pi))


_erf = np.vectorize(erf, otypes=[float])  # numpy has none


def _results(
    history: Sequence[Observation], directions: Sequence[str], rng: np.random.Generator
) -> _Results:
    """Return the results; a failed candidate counts as the worst one seen."""
    found = outcomes(history, directions)
    values, known = found.values, found.known
    if known.any():
        failed = np.array([seen.state in FAILED_STATES for seen in history])
        values[failed & ~known] = values[known].max(axis=0)
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    values = np.stack([standardised(column) for column in values[rows].T], axis=1)
    weights = rng.dirichlet(np.ones(len(directions)))
    return _Results(
        rows=rows,
        values=values,
        complete=found.complete[rows] | ~known[rows],
        weights=weights,
        merit=_weighed(values, weights),
    )


def _weighed(values: Floats, weights: Floats) -> Floats:
    """Return the worst weighed objective of each row and a share of the sum."""
    parts = values * weights
    if parts.shape[1] == 1:
        return np.asarray(parts[:, 0])
    return np.asarray(parts.max(axis=1) + CHEBYSHEV_SLOPE * parts.sum(axis=1))


def _share_of_neighbours(history: Sequence[Observation], found: _Results) -> float:
    """Return the share of fresh shapes that are neighbours of the best rather than draws.

    It follows how often either kind lately improved on the best before it; a candidate counts as
    a neighbour if it differs from that one in one parameter.
    """
    merit = found.merit[-RECENT:]
    encodings = np.array([list(history[row].parameters.values()) for row in found.rows[-RECENT:]])
    best = np.minimum.accumulate(merit)
    places = np.maximum.accumulate(np.where(merit == best, np.arange(len(merit)), 0))
    near = (encodings[1:] != encodings[places[:-1]]).sum(axis=1) <= 1
    better = merit[1:] < best[:-1]
    rates = [(1 + (better & kind).sum()) / (2 + kind.sum()) for kind in (near, ~near)]
    return float(rates[0] / sum(rates))
