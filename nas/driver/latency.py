"""A limit on latency: predicted before the search from a few measured shapes, confirmed at its end.

The prediction is a sum of closed-form quantities, none with a negative share, so that it bounds the
space as a constraint does: a shape above the limit is never drawn. It is kept in the study's
folder, and a search that goes on uses it again.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.driver.events import Listener, Note
from nas.driver.opening import OpenedStudy, measuring_job
from nas.errors import ConfigError, InputError
from nas.executors import Executor
from nas.families import shape_of
from nas.records import Architecture, Latency, Numerics, from_plain, to_plain
from nas.space import BoundSpace, LinearColumn
from nas.store import ranking
from nas.store.rows import CandidateRow

FILE = "latency.json"  # in a study's folder
FORMAT_VERSION = 1
MEASURED = 8  # shapes, half a second each
DRAWS = 256  # of which they are chosen, where a space is too large to look at all of it
WHOLE = 1024
COLUMN = "predicted_latency_ms"
# What time goes to: a call for each layer's parts, weights read, products.
PARTS = ("n_layer", "non_embedding_params", "params", "flops_per_token")
ROUGH = 0.2  # a median error beyond which the limit is said to be a rough one

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Latency as a function of the shape.

    Attributes:
        column: The function.
        error: Median relative error of shapes that were left out of the fit one by one.
        measured: Architectures and their milliseconds, in the order of measuring.
    """

    column: LinearColumn
    error: float
    measured: tuple[tuple[Architecture, float], ...]

    def to_plain(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "format_version": FORMAT_VERSION,
            "column": to_plain(self.column),
            "error": self.error,
            "measured": [
                {"architecture": to_plain(shape), "latency_ms": found}
                for shape, found in self.measured
            ],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Prediction:
        """Rebuild what `to_plain` returned."""
        return cls(
            column=from_plain(LinearColumn, plain["column"]),
            error=float(plain["error"]),
            measured=tuple(
                (from_plain(Architecture, one["architecture"]), float(one["latency_ms"]))
                for one in plain["measured"]
            ),
        )


def under_latency_limit(opened: OpenedStudy, executor: Executor, listener: Listener) -> OpenedStudy:
    """Return the study with its space under `latency.max_ms`, as it is if there is no limit.

    Raises:
        ConfigError: If no shape of the space is predicted to hold the limit.
    """
    section = opened.config.latency
    if section is None or section.max_ms is None:
        return opened
    prediction = _stored(opened) or _measure(opened, executor)
    listener(Note(text=_words(prediction)))
    try:
        space = opened.space.under(prediction.column, section.max_ms)
    except ConfigError:
        fastest = min(found for _, found in prediction.measured)
        raise ConfigError(
            f"study '{opened.record.name}': latency.max_ms: got {section.max_ms:g}, and no shape "
            f"of the space is predicted to hold it; the fastest of {len(prediction.measured)} "
            f"measured takes {fastest:.3g} ms; raise it, or widen the space"
        ) from None
    if opened.space.space.reference is not None and space.space.reference is None:
        listener(Note(text=f"the reference is above latency.max_ms {section.max_ms:g}: left out"))
    return replace(opened, space=space)


def _words(prediction: Prediction) -> str:
    times = [found for _, found in prediction.measured]
    rough = ": the limit is a rough one" if prediction.error > ROUGH else ""
    return (
        f"latency predicted from {len(times)} shapes of {min(times):.3g} to {max(times):.3g} ms, "
        f"median error {prediction.error:.0%} of one left out{rough}"
    )


def _stored(opened: OpenedStudy) -> Prediction | None:
    path = opened.folder / FILE
    if not path.exists():
        return None
    try:
        return Prediction.from_plain(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: unreadable ({error}); delete it to measure anew") from error


def _measure(opened: OpenedStudy, executor: Executor) -> Prediction:
    rng = np.random.default_rng(opened.config.seed)
    shapes = spread_shapes(opened.space, MEASURED, rng)
    times = [_latency_of(opened, executor, shape).median_ms for shape in shapes]
    prediction = fit(opened.space, shapes, times)
    path = opened.folder / FILE
    _write(path, json.dumps(prediction.to_plain(), indent=2))
    return prediction


def _write(path: Path, text: str) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)


def _latency_of(opened: OpenedStudy, executor: Executor, shape: Architecture) -> Latency:
    section = opened.config.latency
    assert section is not None
    spec = section.spec
    numerics = Numerics(
        device=spec.device, precision="fp32", attention="sdpa", threads=spec.threads
    )
    return executor.latency(measuring_job(opened, shape, numerics, spec))


def spread_shapes(space: BoundSpace, count: int, rng: np.random.Generator) -> list[Architecture]:
    """Return feasible shapes that lie apart in what latency goes by, the smallest one first."""
    small = space.size() <= WHOLE
    drawn = space.architectures() if small else (space.sample(rng) for _ in range(DRAWS))
    shapes = list({shape.id: shape for shape in drawn}.values())
    parts = np.log(_parts(space, shapes))
    apart = (parts - parts.mean(axis=0)) / np.maximum(parts.std(axis=0), 1e-9)
    chosen = [int(np.argmin(parts.sum(axis=1)))]
    distances = np.linalg.norm(apart - apart[chosen[0]], axis=1)
    while len(chosen) < min(count, len(shapes)):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(apart - apart[chosen[-1]], axis=1))
    return [shapes[at] for at in chosen]


def _parts(space: BoundSpace, shapes: Sequence[Architecture]) -> Floats:
    """Return what latency goes by, shape (shape, part)."""
    rows = [(space.columns(shape), shape_of(shape)) for shape in shapes]
    found = [[c[n] if n in c else getattr(s, n) for n in PARTS] for c, s in rows]
    return np.array(found, dtype=float).reshape(len(shapes), len(PARTS))


def fit(space: BoundSpace, shapes: Sequence[Architecture], times: Sequence[float]) -> Prediction:
    """Return the non-negative sum of parts whose relative errors are least in squares."""
    parts, found = _parts(space, shapes), np.array(times, dtype=float)
    shares = _non_negative(parts, found)
    errors = []
    for at in range(len(found) if len(found) > 1 else 0):
        others = np.arange(len(found)) != at
        guess = _predict(_non_negative(parts[others], found[others]), parts[at])
        errors.append(abs(guess / found[at] - 1))
    return Prediction(
        column=LinearColumn(
            name=COLUMN,
            constant=float(shares[0]),
            weights={n: float(w) for n, w in zip(PARTS, shares[1:], strict=True) if w > 0},
        ),
        error=float(statistics.median(errors)) if errors else 0.0,
        measured=tuple(zip(shapes, map(float, times), strict=True)),
    )


def _predict(shares: Floats, parts: Floats) -> float:
    return float(shares[0] + parts @ shares[1:])


def _non_negative(parts: Floats, times: Floats) -> Floats:
    """Return the constant and a share of each part, none negative, by least squares.

    Every subset of so few parts is tried: the best whose own solution is not negative is it.
    """
    scale = np.append(1.0, parts.max(axis=0))
    design = np.hstack([np.ones((len(times), 1)), parts]) / scale / times[:, None]
    best, least = np.zeros(len(scale)), np.inf
    for size in range(1, min(len(scale), len(times)) + 1):
        for some in combinations(range(len(scale)), size):
            solved = np.linalg.lstsq(design[:, some], np.ones(len(times)), rcond=None)[0]
            rest = float(np.square(design[:, some] @ solved - 1).sum())
            if solved.min() >= 0 and rest < least - 1e-12:
                best, least = np.zeros(len(scale)), rest
                best[list(some)] = solved
    return np.asarray(best / scale)


# At the end


def within_limit(opened: OpenedStudy, rows: Sequence[CandidateRow]) -> list[CandidateRow]:
    """Return those that are predicted to hold `latency.max_ms`: an earlier one may be higher."""
    kept = list(rows)
    for column, bound in opened.space.limits:
        kept = [r for r in kept if opened.space.columns(r.architecture)[column.name] <= bound]
    return kept


def confirm(
    opened: OpenedStudy,
    executor: Executor,
    groups: Sequence[ranking.FinalistGroup],
    complete: Sequence[CandidateRow],
    listener: Listener,
) -> tuple[frozenset[str], dict[str, Any]]:
    """Measure the winner; if it is above the limit, the next one, until one holds it.

    Args:
        opened: The study.
        executor: Runs nothing now.
        groups: The finals, best mean first.
        complete: The search's candidates, best first, for a study without finals.
        listener: Told of those that are too slow.

    Returns:
        Architecture ids that cannot win, and `latency` for the summary; nothing of either without
        a limit. If all are too slow, the fastest one can win.
    """
    section = opened.config.latency
    if section is None or section.max_ms is None:
        return frozenset(), {}
    times: dict[str, float] = {}
    held = within_limit(opened, complete) or complete
    for shape in _by_rank(groups, held, opened.record.objectives[0]):
        times[shape.id] = _latency_of(opened, executor, shape).median_ms
        if times[shape.id] <= section.max_ms:
            break
        text = f"{shape.id} takes {times[shape.id]:.3g} ms, above latency.max_ms {section.max_ms:g}"
        listener(Note(text=f"{text}: it cannot win"))
    fastest = min(times, key=times.__getitem__)
    if times[fastest] > section.max_ms:
        listener(Note(text=f"none holds latency.max_ms {section.max_ms:g}: the fastest one wins"))
    found = {"max_ms": section.max_ms, "winner_ms": times[fastest], "measured_ms": times}
    predicted = {row.architecture_id for row in complete} - {row.architecture_id for row in held}
    return frozenset({*times, *predicted} - {fastest}), {"latency": found}


def _by_rank(
    groups: Sequence[ranking.FinalistGroup], complete: Iterable[CandidateRow], objective: str
) -> list[Architecture]:
    ranked = [group for group in groups if group.mean(objective) is not None]
    return [group.rows[0].architecture for group in ranked] or [
        row.architecture for row in complete
    ]
