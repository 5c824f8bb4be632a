"""Optuna's view of a study: one finished trial a candidate, in the same database.

A mirror and no more: it makes `optuna.load_study` and optuna-dashboard work, and the search never
reads it. Only candidates of role `search` that have ended are shown: finalists and the retrained
reference repeat a point under other seeds, and a paused candidate whose checkpoint is kept may
still go on while Optuna's finished trials never change. One without is a pruned trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from nas.errors import StoreError
from nas.records import FAILED_STATES
from nas.store.engine import (
    connect_options,
    in_our_words,
    is_away,
    make_engine,
    our_errors,
    use_wal,
)
from nas.store.patience import Patience
from nas.store.ranking import number_of
from nas.store.rows import CandidateRow, EvaluationRow
from nas.store.urls import database_url, is_server, shown
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
        patience: Patience | None = None,
    ) -> None:
        """Take down where to mirror.

        Args:
            url: The study database's URL, password included.
            study_name: Name of the study, here and in Optuna.
            objectives: Metric columns, `val_loss` first as a rule.
            parameters: The sampler's numbers that a row's `parameters` are values of.
            patience: What is done while the database is away; left out: nothing.
        """
        self._url = database_url(url)
        self._where = shown(self._url)
        self._patience = patience or Patience()
        self._name = study_name
        self._objectives = tuple(objectives)
        self._parameters = {p.name: p for p in parameters}
        self._storage: optuna.storages.RDBStorage | None = None
        self._study_id = -1
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
        if not is_mirrored(row):
            return False
        return self._patience.run(lambda: self._add(row, evaluations), self.close)

    def _add(self, row: CandidateRow, evaluations: Iterable[EvaluationRow]) -> bool:
        """Add a trial unless it is there; after `close` Optuna is asked which are."""
        with quiet(), our_errors(self._where), _optunas_errors(self._where):
            storage, study_id = self._open()
            if row.candidate_id in self._mirrored:
                return False
            storage.create_new_trial(study_id, template_trial=self._trial(row, evaluations))
        self._mirrored.add(row.candidate_id)
        return True

    def missing(self, rows: Iterable[CandidateRow]) -> list[str]:
        """Return the ids of candidates that are to be shown and are not there yet.

        A search that ended between our row and the mirror leaves some.
        """
        shown = [row.candidate_id for row in rows if is_mirrored(row)]
        if not shown:
            return []
        mirrored = self._patience.run(self._found, self.close)
        return [own for own in shown if own not in mirrored]

    def _found(self) -> set[str]:
        """Return the ids of the candidates that Optuna shows."""
        with quiet(), our_errors(self._where), _optunas_errors(self._where):
            self._open()
        return self._mirrored

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
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def _open(self) -> tuple[optuna.storages.RDBStorage, int]:
        """Return Optuna's storage and study, made at the first call along with its tables.

        The storage is used without Optuna's cache, which would keep every trial in memory.
        """
        if self._storage is None:
            storage = _storage(self._url)
            try:
                self._find_study(storage)
            except BaseException:
                storage.engine.dispose()
                raise
            self._storage = storage  # last: until it is known what is there, nothing is added
        return self._storage, self._study_id

    def _find_study(self, storage: optuna.storages.RDBStorage) -> None:
        import optuna

        if storage.engine.dialect.name == "sqlite":
            storage.engine.dispose()  # connections from before the settings
            use_wal(storage.engine)
        sa.event.listen(storage.engine, "handle_error", self._tell_if_away)
        study = optuna.create_study(
            study_name=self._name,
            storage=storage,
            directions=[direction(objective) for objective in self._objectives],
            load_if_exists=True,
        )
        self._study_id = study._study_id
        trials = storage.get_all_trials(self._study_id, deepcopy=False)
        self._mirrored = {t.user_attrs.get("candidate_id", "") for t in trials}

    def _tell_if_away(self, context: Any) -> None:
        """Raise our own error when the database is away, which Optuna lets through.

        It would try its own errors again, and add a trial twice if the first one was stored.
        """
        error = context.sqlalchemy_exception
        if isinstance(error, sa.exc.DBAPIError) and is_away(error):
            raise in_our_words(error, self._where)

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


def is_mirrored(row: CandidateRow) -> bool:
    """Say whether a candidate is one that Optuna shows: of the search, and ended for good."""
    given_up = row.state == "paused" and row.checkpoint is None
    return row.role == "search" and (given_up or row.state in {"complete", *FAILED_STATES})


def load_study(url: str, name: str) -> optuna.Study:
    """Return Optuna's study of this name; nothing is made, not even Optuna's tables.

    Raises:
        KeyError: If no candidate was mirrored yet.
    """
    import optuna

    address = database_url(url)
    if not _has_tables(address):
        raise KeyError(name)
    with quiet(), our_errors(shown(address)), _optunas_errors(shown(address)):
        return optuna.load_study(study_name=name, storage=_storage(address, keep=False))


def trials_of(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that Optuna shows of a study; none where it has none.

    Nothing is made: not even Optuna's tables.
    """
    import optuna

    if not _has_tables(database_url(url)):
        return []
    with _storage_of(url) as storage, suppress(KeyError):
        return optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    return []


def _has_tables(url: sa.URL) -> bool:
    """Say whether Optuna has its tables in a database; two that make them at once fail."""
    engine = make_engine(url)
    try:
        with our_errors(shown(url)), engine.begin() as connection:
            return sa.inspect(connection).has_table("studies")
    finally:
        engine.dispose()


def delete_study(url: str, name: str) -> None:
    """Delete Optuna's study of this name; fine if there is none."""
    import optuna

    with _storage_of(url) as storage, suppress(KeyError):
        optuna.delete_study(study_name=name, storage=storage)


def rename_study(url: str, name: str, new_name: str) -> None:
    """Have Optuna show a study under another name; fine if there is none."""
    import optuna

    delete_study(url, new_name)  # of a renaming that was cut short
    with _storage_of(url) as storage, suppress(KeyError):
        optuna.copy_study(
            from_study_name=name,
            from_storage=storage,
            to_storage=storage,
            to_study_name=new_name,
        )
        optuna.delete_study(study_name=name, storage=storage)


@contextmanager
def _storage_of(url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Yield Optuna's storage in a database, and let go of it."""
    address = database_url(url)
    where = shown(address)
    with quiet(), our_errors(where), _optunas_errors(where):
        storage = _storage(address)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _storage(url: sa.URL, *, keep: bool = True) -> optuna.storages.RDBStorage:
    """Return Optuna's storage in a database.

    Args:
        url: The database.
        keep: Whether connections are kept open until it is disposed of, which nobody does with
            the storage of a study that was handed out.
    """
    import optuna

    options: dict[str, Any] = {"connect_args": connect_options(url)}
    if is_server(url) and not keep:
        options["poolclass"] = sa.NullPool
    return optuna.storages.RDBStorage(
        url.render_as_string(hide_password=False), engine_kwargs=options
    )


@contextmanager
def _optunas_errors(where: str) -> Iterator[None]:
    """Turn what Optuna makes of the database's errors into ours."""
    import optuna

    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        if isinstance(error.__cause__, sa.exc.DBAPIError):
            raise in_our_words(error.__cause__, where) from error
        raise StoreError(f"{where}: {str(error).splitlines()[0]}") from error


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
def quiet() -> Iterator[None]:
    """Keep Optuna's notes about studies made or found off the user's screen."""
    import optuna  # importing it sets the level of its logger: import first

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
