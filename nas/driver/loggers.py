"""A search told to its loggers: each in a thread of its own, so that none can hold or end it.

A logger may be slow, hang or fail: the first failure is a note, and that logger is told no more.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nas.driver.events import (
    CandidateEnded,
    CandidateStarted,
    Event,
    Listener,
    Note,
    SearchEnded,
)
from nas.loggers import Logger, Run, Value, logger_class
from nas.records import Outcome, Progress, Recipe
from nas.store.rows import metric_column

CLOSE_SECONDS = 60.0  # that the end of a search waits for loggers to write what is left
# Of a recipe, what tells candidates of one study apart or is asked for first.
RECIPE = ("rate", "batch", "context", "weight_decay", "dropout")

Call = Callable[[Logger], None]


class Background:
    """One logger and its thread, which makes it and calls it.

    Args:
        name: How the study file names it.
        make: Makes the logger; what it loads may take seconds.
    """

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        self.name = name
        self._make = make
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._told = False
        self._thread = threading.Thread(target=self._run, name=f"logger {name}", daemon=True)
        self._thread.start()

    def call(self, work: Call) -> None:
        """Have the logger do something, after all that it was given before."""
        if self._failure is None:
            self._calls.put(work)

    def failure(self) -> str:
        """Return in words that the logger failed, once; else nothing."""
        error = self._failure
        if error is None or self._told:
            return ""
        self._told = True
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"logger '{self.name}' failed and is told no more; the search goes on: {text}"

    def close(self, until: float) -> str:
        """Wait for the logger to be done, by the monotonic clock; return what is to be said."""
        self._calls.put(None)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            return (
                f"logger '{self.name}' is not done after {CLOSE_SECONDS:.0f} s; what it has not "
                "written by now is left out"
            )
        return self.failure()

    def _run(self) -> None:
        try:
            logger = self._make()
            while (work := self._calls.get()) is not None:
                work(logger)
            logger.close()
        except Exception as error:  # whatever it is, the search has no part in it
            self._failure = error


@dataclass(slots=True)
class _Told:
    """What was told of a job under way: tokens that it went on from, and its last point."""

    start: int
    tokens: int
    loss: float | None = None


class Telling:
    """A listener that tells a search to its loggers.

    Args:
        loggers: Them.
        note: Told what there is to say about them.
    """

    def __init__(self, loggers: Sequence[Background], note: Callable[[str], None]) -> None:
        self._loggers, self._note = loggers, note
        self._told: dict[str, _Told] = {}  # by candidate under way

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, CandidateStarted):
            self._begin(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, CandidateEnded):
            self._end(event.outcome)
        elif isinstance(event, SearchEnded):
            self._tell(lambda logger: logger.finish(event.summary))
        for one in self._loggers:
            if words := one.failure():
                self._note(words)

    def _tell(self, work: Call) -> None:
        for one in self._loggers:
            one.call(work)

    def _begin(self, event: CandidateStarted) -> None:
        run = run_of(event)
        self._told[run.candidate_id] = _Told(start=run.start, tokens=run.start)
        self._tell(lambda logger: logger.begin(run))

    def _progress(self, event: Progress) -> None:
        """Tell a training loss that was not told: most reports only repeat the last one."""
        told, loss = self._told[event.candidate_id], event.train_loss
        if loss is None or loss == told.loss or event.tokens <= told.tokens:
            return
        self._log(event.candidate_id, event.tokens, {"train_loss": loss})
        told.tokens, told.loss = event.tokens, loss

    def _end(self, outcome: Outcome) -> None:
        """Tell what was measured since the job began, and what is left of the curve."""
        own = outcome.candidate_id
        for tokens, values in _measured(outcome, self._told.pop(own)):
            self._log(own, tokens, values)
        state, error = outcome.state, outcome.error
        self._tell(lambda logger: logger.end(own, state, error))

    def _log(self, candidate_id: str, tokens: int, values: Mapping[str, float]) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if finite:
            self._tell(lambda logger: logger.log(candidate_id, tokens, finite))


def _measured(outcome: Outcome, told: _Told) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield metrics by tokens, in order: points of the curve not told yet, and each new rung's.

    An outcome also has what the candidate's earlier jobs measured, which they told.
    """
    found: dict[int, dict[str, float]] = {}
    for evaluation in (one for one in outcome.evaluations if one.tokens > told.start):
        for tokens, loss in evaluation.curve:
            if tokens > told.tokens:
                found.setdefault(tokens, {})["train_loss"] = loss
        for split, values in evaluation.metrics.items():
            flat = {metric_column(split, name): value for name, value in values.items()}
            found.setdefault(evaluation.tokens, {}).update(flat)
    yield from sorted(found.items())


def run_of(event: CandidateStarted) -> Run:
    """Return a candidate as loggers know it."""
    return Run(
        candidate_id=event.candidate_id,
        architecture_id=event.architecture.id,
        number=event.number,
        role=event.role,
        seed=event.seed,
        hyperparameters=_hyperparameters(event),
        start=event.tokens,
    )


def _hyperparameters(event: CandidateStarted) -> dict[str, Value]:
    shape = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in event.architecture.shape.items()
    }
    recipe: Recipe = event.recipe
    return {
        "family": event.architecture.family,
        **shape,
        **{name: getattr(recipe, name) for name in RECIPE},
        **({"params": event.columns["params"]} if "params" in event.columns else {}),
    }


@contextmanager
def telling(
    names: Sequence[str], *, study: str, folder: Path, listener: Listener
) -> Iterator[Listener]:
    """Yield a listener that tells the loggers of these names; at the end wait for them.

    Args:
        names: Of `loggers.LOGGERS`, or the user's own.
        study: The study's name.
        folder: Its folder.
        listener: Told, as a note, what there is to say about them.

    Raises:
        NasError: If there is no such logger, or what it needs is not installed.
    """
    kinds = {name: logger_class(name) for name in names}

    def note(words: str) -> None:
        listener(Note(text=words))

    made = [
        Background(name, lambda kind=kind: kind(study=study, folder=folder))  # type: ignore[misc]  # a default binds the loop's value
        for name, kind in kinds.items()
    ]
    try:
        yield Telling(made, note)
    finally:
        until = time.monotonic() + CLOSE_SECONDS
        for one in made:
            if words := one.close(until):
                note(words)
