"""Optuna's view of a study: one finished trial a candidate, in the same database.

A mirror and no more: it makes `optuna.load_study` and optuna-dashboard work, and the search never
reads it. Only candidates of role `search` that have ended are shown: finalists and the retrained
reference repeat a point under other seeds, and a paused candidate whose checkpoint is kept may
still go on while Optuna's finished trials never change. One without is a pruned trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from nas.records import FAILED_STATES
from nas.store.engine import database_url, our_errors, shown, use_wal
from nas.store.ranking import number_of
from nas.store.rows import CandidateRow, EvaluationRow
from nas.tasks.metrics import direction

if TYPE_CHECKING:
    import optuna


class Parameter(Protocol):
    """A number that samplers choose: an integer from `low` to `high` in steps."""

    @property
    def name(self) -> str:
        """The name, such as `n_layer` or `d_model_index`."""
        ...

    @property
    def low(self) -> int:
        """The smallest value."""
        ...

    @property
    def high(self) -> int:
        """The largest value."""
        ...

    @property
    def step(self) -> int:
        """The distance of two values."""
        ...


class Mirror:
    """Writes ended candidates to Optuna's tables; nothing is made before the first one."""

    def __init__(
        self,
        url: str,
        study_name: str,
        *,
        objectives: Sequence[str],
        parameters: Sequence[Parameter],
    ) -> None:
        """Take down where to mirror.

        Args:
            url: The study database's URL, password included.
            study_name: Name of the study, here and in Optuna.
            objectives: Metric columns, `val_loss` first as a rule.
            parameters: The sampler's numbers that a row's `parameters` are values of.
        """
        self._url = url
        self._where = shown(database_url(url))
        self._name = study_name
        self._objectives = tuple(objectives)
        self._parameters = {p.name: p for p in parameters}
        self._study: optuna.Study | None = None
        self._mirrored: set[str] = set()

    def add(self, row: CandidateRow, evaluations: Iterable[EvaluationRow] = ()) -> bool:
        """Mirror one candidate.

        Args:
            row: The candidate.
            evaluations: All its measurements, shown as intermediate values where there is a
                single objective (Optuna knows none with several).

        Returns:
            Whether a trial was added: False if it is there already or is not for the mirror.
        """
        given_up = row.state == "paused" and row.checkpoint is None
        if row.role != "search" or not (given_up or row.state in {"complete", *FAILED_STATES}):
            return False
        with _quiet(), our_errors(self._where):
            study = self._open()
            if row.candidate_id in self._mirrored:
                return False
            study.add_trial(self._trial(row, evaluations))
        self._mirrored.add(row.candidate_id)
        return True

    def reconcile(self, rows: Iterable[CandidateRow], evaluations: Iterable[EvaluationRow]) -> int:
        """Mirror what is missing, after a search that ended between our row and the mirror.

        Returns:
            How many trials were added.
        """
        measured: dict[str, list[EvaluationRow]] = {}
        for each in evaluations:
            measured.setdefault(each.candidate_id, []).append(each)
        return sum(self.add(row, measured.get(row.candidate_id, ())) for row in rows)

    def close(self) -> None:
        """Let go of the database."""
        if self._study is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._study = None

    def _open(self) -> optuna.Study:
        """Return Optuna's study, made at the first call along with Optuna's tables."""
        if self._study is None:
            import optuna

            self._storage = optuna.storages.RDBStorage(self._url)
            if self._storage.engine.dialect.name == "sqlite":
                self._storage.engine.dispose()  # connections from before the settings
                use_wal(self._storage.engine)
            self._study = optuna.create_study(
                study_name=self._name,
                storage=self._storage,
                directions=[direction(objective) for objective in self._objectives],
                load_if_exists=True,
            )
            trials = self._study.get_trials(deepcopy=False)
            self._mirrored = {t.user_attrs.get("candidate_id", "") for t in trials}
        return self._study

    def _trial(
        self, row: CandidateRow, evaluations: Iterable[EvaluationRow]
    ) -> optuna.trial.FrozenTrial:
        import optuna

        found = [number_of(row, name) for name in self._objectives]
        values = [value for value in found if value is not None]
        complete = row.state == "complete" and len(values) == len(self._objectives)
        states = optuna.trial.TrialState
        ended = states.PRUNED if row.state == "paused" else states.FAIL
        trial = optuna.trial.create_trial(
            state=states.COMPLETE if complete else ended,
            values=values if complete else None,
            params=dict(row.parameters),
            distributions=self._distributions(row.parameters),
            user_attrs=_attributes(row),
            intermediate_values=self._intermediate(evaluations),
        )
        trial.datetime_start = _local(row.created_at)
        trial.datetime_complete = _local(max(row.finished_at or row.created_at, row.created_at))
        return trial

    def _distributions(self, values: Mapping[str, int]) -> dict[str, Any]:
        from optuna.distributions import IntDistribution

        chosen = (self._parameters[name] for name in values)
        return {p.name: IntDistribution(p.low, p.high, step=p.step) for p in chosen}

    def _intermediate(self, evaluations: Iterable[EvaluationRow]) -> dict[int, float]:
        if len(self._objectives) > 1:
            return {}
        measured = ((e.evaluation.tokens, e.metrics.get(self._objectives[0])) for e in evaluations)
        return {tokens: value for tokens, value in measured if value is not None}


def load_study(url: str, name: str) -> optuna.Study:
    """Return Optuna's study of this name.

    Raises:
        KeyError: If no candidate was mirrored yet.
    """
    import optuna

    with _quiet(), our_errors(shown(database_url(url))):
        return optuna.load_study(study_name=name, storage=url)


def delete_study(url: str, name: str) -> None:
    """Delete Optuna's study of this name; fine if there is none."""
    import optuna

    with _quiet(), our_errors(shown(database_url(url))):
        try:
            optuna.delete_study(study_name=name, storage=url)
        except KeyError:
            return


def _attributes(row: CandidateRow) -> dict[str, Any]:
    """Return what Optuna's parameters do not say, and no more: each costs it 1.3 ms to store."""
    attributes: dict[str, Any] = {
        "candidate_id": row.candidate_id,
        "architecture_id": row.architecture_id,
        "params": row.params,
    }
    if "rate_index" in row.parameters:
        attributes["rate"] = row.recipe.rate
    if row.state != "complete":
        attributes["state"] = row.state
    for name, value in row.shape.items():
        if name not in row.parameters:
            attributes[name] = list(value) if isinstance(value, tuple) else value
    return attributes


def _local(time: datetime) -> datetime:
    """Return a time as Optuna keeps it: local, without a zone."""
    return time.astimezone().replace(tzinfo=None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's notes about studies made or found off the user's screen."""
    import optuna  # importing it sets the level of its logger: import first

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
