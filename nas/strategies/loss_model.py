"""A Bayesian model of a result from size and shape, which a handful of trainings can teach.

Results are a second-order polynomial of the features plus noise. Two beliefs about it compete:
that a larger model is better by a fairly known amount, and that nothing is known. They begin at
odds of nine to one and every result moves these, so that evidence overrules the first. What is not
known besides (how much the shape matters, how large the noise is, how large the whole effect) is
averaged over too, on a grid; all of it has a closed form.

A third belief may come from the results of another study: what this model makes of them, with room
for how another data set or budget differs.

Source: Bishop, "Pattern Recognition and Machine Learning", 2006, sections 3.3 to 3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.strategies.features import second_order

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """A prior of the weights, in units of the whole effect.

    Attributes:
        odds: How much it is trusted at first.
        slope: Expected change of the result for one standard deviation of log size.
        slope_sd: How sure that is.
        bend: Standard deviation of the curvature in log size.
        heads: Expected change for one of the log number of heads, if each has a width of its own.
    """

    odds: float
    slope: float
    slope_sd: float
    bend: float
    heads: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """A prior of the weights from another study's results, in units of their spread.

    Attributes:
        odds: How much it is trusted at first.
        mean: Expected weights, in the order of `second_order`.
        covariance: How unsure they are.
    """

    odds: float
    mean: Floats
    covariance: Floats


# At equal tokens Spearman of log size with loss was .95 to .999 on five sets of 98 to 200 trained
# decoders (`lts_decoders`), hence the first; the second is for budgets too short for large models.
# At equal size, heads are worth more than what else the weights could go to: on the 84 shapes of
# `recorded_llama_small.csv` .14 of the deviation of all. A third of it is expected: on 48 shapes of
# the same space, trained on another text with two fifths of the tokens, they are worth nothing, and
# who expects .15 begins there with shapes worse than random ones.
LARGER_IS_BETTER = Belief(odds=0.9, slope=-1.0, slope_sd=0.5, bend=0.1, heads=-0.05)
ANYTHING = Belief(odds=0.1, slope=0.0, slope_sd=1.0, bend=0.3, heads=0.0)

SHAPE_SDS = (0.03, 0.1, 0.3)  # effect of one standard deviation of a shape feature
# Extreme shapes are worse than balanced ones: each feature's square is expected to add this. Among
# 84 shapes of up to a million parameters 0, .02, .03 and .05 come within .005 of the best after
# 89, 35, 59 and 59 s, among random 70 % of them after 239, 211, 210 and 202 +- 31 s
# (`replay_training.py`): little depends on it. On `lts_decoders` the regret after four trainings is
# .70, .69, .69 and 1.12 % (`replay.py`).
EXTREMES = 0.03
PRODUCTS = 0.3  # how much smaller the effect of two features together is than that of one
NOISES = (0.05, 0.15, 0.4)  # of one result at the full budget
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)  # whole effect, in standard deviations of the results seen
LEVEL_SD = 3.0  # of the level, which the results' own mean has taken nearly out
SECOND_ORDER_OFF = 0.3  # how far another study's second order may be off, as share of the first's
# Curvature of a searched learning rate, in whole effects, and how unsure it and the slope are. Over
# a range of 16 the loss rises to both ends about as much as from the largest to small shapes.
RATE_BEND = 0.5
LIKELY = 0.01  # settings less likely than this share of the likeliest are left out
UNSURE = 3.0  # how much more noise a result has that was estimated from a lower rung


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What is expected of shapes, one row for each likely setting of what is not known.

    Attributes:
        weights: Probability of each setting, shape (S,).
        means: Expected results, shape (S, shape).
        sds: Their standard deviations, noise of a training not included, shape (S, shape).
    """

    weights: Floats
    means: Floats
    sds: Floats

    @property
    def mean(self) -> Floats:
        """The expected results, all settings together, shape (shape,)."""
        return np.asarray(self.weights @ self.means)


class LossModel:
    """The model, fitted to results.

    Args:
        features: Of the shapes with results, shape (N, d); the first is log size.
        results: Their results, smaller is better, shape (N,); standardised by the caller.
        complete: Which are measured at the full budget rather than estimated from a lower rung.
        pending: Features of shapes in training now: what they will say is not known, but that it
            will be is, so their neighbourhood becomes less uncertain.
        beliefs: The priors that compete; their odds in relation to each other.
        rate: Which feature is the learning rate, if one is: its best lies inside its range.
        heads: Which is the number of heads, if each has a width of its own.
    """

    def __init__(
        self,
        features: Floats,
        results: Floats,
        *,
        complete: NDArray[np.bool_],
        pending: Floats,
        beliefs: Sequence[Belief | Learned],
        rate: int | None = None,
        heads: int | None = None,
    ) -> None:
        self._rate, self._heads = rate, heads
        weight = np.where(complete, 1.0, 1.0 / UNSURE)
        basis = second_order(features) * weight[:, None]
        target = results * weight
        self._n = len(results)
        self._gram, self._moment = basis.T @ basis, basis.T @ target
        self._square = float(target @ target)
        ahead = second_order(pending)
        self._ahead = ahead.T @ ahead
        self._d = features.shape[1]
        self._settings(beliefs)

    def _settings(self, beliefs: Sequence[Belief | Learned]) -> None:
        """Fit every combination of belief, shape effect and noise; weigh each with each scale."""
        grid = list(product(beliefs, SHAPE_SDS, NOISES))
        priors = [
            _prior(belief, shape_sd, self._d, self._rate, self._heads)
            for belief, shape_sd, _ in grid
        ]
        self._mean = np.stack([prior.mean for prior in priors])
        noise = np.array([noise for _, _, noise in grid])[:, None, None] ** 2
        precision = self._gram / noise + np.stack([prior.precision for prior in priors])
        self._inverse = np.linalg.inv(precision)
        ahead = precision + self._ahead / noise
        self._root = np.linalg.inv(np.linalg.cholesky(ahead)).transpose(0, 2, 1)
        self._noise = noise[:, 0, 0]
        logdet = np.linalg.slogdet(precision)[1] + [prior.log_volume for prior in priors]
        logdet += self._n * np.log(self._noise)
        odds = np.log([belief.odds for belief, _, _ in grid])
        fits = [self._fit(scale) for scale in SCALES]
        self._weights_SGP = np.stack([weights for weights, _ in fits])
        logs = np.stack([odds - 0.5 * (misfit + logdet) for _, misfit in fits])
        logs -= self._n * np.log(SCALES)[:, None]
        self._chance = np.exp(logs - logs.max())

    def _fit(self, scale: float) -> tuple[Floats, Floats]:
        """Return the posterior mean of the weights of each setting, and how ill it fits."""
        expected = self._mean @ self._gram  # gram is symmetric
        pull = self._moment / scale - expected
        update = np.einsum("gij,gj->gi", self._inverse, pull) / self._noise[:, None]
        left = self._square / scale**2 - 2 * self._mean @ self._moment / scale
        left += (self._mean * expected).sum(axis=1)
        misfit = (left - (pull * update).sum(axis=1)) / self._noise
        return self._mean + update, misfit

    def predict(self, features: Floats) -> Prediction:
        """Return what is expected of shapes under every likely setting."""
        basis = second_order(features)
        scale, setting = np.nonzero(self._chance > LIKELY)
        weights = self._chance[scale, setting]
        size = np.asarray(SCALES)[scale][:, None]
        means = size * (self._weights_SGP[scale, setting] @ basis.T)
        spread = {g: np.sqrt(((basis @ self._root[g]) ** 2).sum(axis=1)) for g in set(setting)}
        sds = size * np.stack([spread[g] for g in setting])
        return Prediction(weights=weights / weights.sum(), means=means, sds=sds)

    def as_belief(self, odds: float) -> Learned:
        """Return what these results say as a belief for a study of its own scale."""
        scale, setting = np.nonzero(self._chance > LIKELY)
        share = self._chance[scale, setting] / self._chance[scale, setting].sum()
        size = np.asarray(SCALES)[scale]
        weights = size[:, None] * self._weights_SGP[scale, setting]
        mean = share @ weights
        roots = size[:, None, None] * self._root[setting]
        covariance = np.einsum("s,sij,skj->ik", share, roots, roots)
        off = weights - mean
        return Learned(odds=odds, mean=mean, covariance=covariance + (share * off.T) @ off)

    def draw(self, rng: np.random.Generator) -> Callable[[Floats], Floats]:
        """Return one function from features to results, drawn from all that are possible."""
        chance = self._chance.ravel() / self._chance.sum()
        scale, setting = divmod(int(rng.choice(len(chance), p=chance)), self._chance.shape[1])
        root = self._root[setting]
        weights = self._weights_SGP[scale, setting] + root @ rng.standard_normal(root.shape[1])
        return lambda features: SCALES[scale] * (second_order(features) @ weights)


def standardised(results: Floats) -> Floats:
    """Return results on a scale on which a hopeless one is not far: their order is kept.

    The logarithm of the distance from the best, in units of the median's, then mean 0 and
    deviation 1.
    """
    if not len(results):
        return results
    best = results.min()
    typical = float(np.median(results) - best)
    if len(results) > 2 and typical > 0:
        results = np.log1p((results - best) / typical)
    spread = results.std()
    return np.asarray((results - results.mean()) / (spread if spread > 0 else 1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prior:
    """A Gaussian of the weights: its mean, inverse covariance, and the covariance's log det."""

    mean: Floats
    precision: Floats
    log_volume: float


def _prior(
    belief: Belief | Learned, shape_sd: float, d: int, rate: int | None, heads: int | None
) -> _Prior:
    """Return the prior of the weights, in the order of `second_order`."""
    size = 1 + 2 * d + d * (d - 1) // 2
    if isinstance(belief, Learned):
        return _learned(belief, shape_sd, d)
    mean, sd = np.zeros(size), np.full(size, PRODUCTS * shape_sd)
    mean[1], mean[2 + d : 1 + 2 * d] = belief.slope, EXTREMES
    sd[0] = LEVEL_SD
    sd[1 : 1 + 2 * d] = shape_sd
    sd[1], sd[1 + d] = belief.slope_sd, belief.bend
    if heads is not None:
        mean[1 + heads] = belief.heads
    if rate is not None:
        mean[1 + d + rate] = RATE_BEND
        sd[1 + rate] = sd[1 + d + rate] = RATE_BEND
    return _Prior(mean=mean, precision=np.diag(1 / sd**2), log_volume=float(np.log(sd**2).sum()))


def _learned(belief: Learned, shape_sd: float, d: int) -> _Prior:
    """Return another study's belief, less sure: here each weight may differ by about `shape_sd`."""
    off = np.full(len(belief.mean), SECOND_ORDER_OFF * shape_sd)
    off[0] = LEVEL_SD
    off[1 : 1 + d] = shape_sd
    covariance = belief.covariance + np.diag(off**2)
    return _Prior(
        mean=np.concatenate([[0.0], belief.mean[1:]]),
        precision=np.asarray(np.linalg.inv(covariance)),
        log_volume=float(np.linalg.slogdet(covariance)[1]),
    )
