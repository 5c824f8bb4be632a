"""A study as a person asks about it: which candidates there are, which is best, where it lies.

`open_study` finds one by name, path or database URL. A `Study` holds no connection: each question
opens the database, reads and lets go, so that it may be asked while the search runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import InputError, NotFoundError, nearest
from nas.places import Place, find_place, folder_of, is_url
from nas.places import list_studies as list_studies
from nas.places import studies_folder as studies_folder
from nas.records import BESIDE_ROLES, FAILED_STATES, ROLES, Architecture
from nas.store import ranking
from nas.store.rows import PLAIN_COLUMNS, CandidateRow, EvaluationRow, StudyRecord
from nas.store.store import Store
from nas.store.urls import database_url, shown
from nas.store.where import parse_where

if TYPE_CHECKING:
    import optuna

LATENCY = "latency_ms"
METRICS = ("val_loss", "test_loss")  # columns that exist before anything was measured


class Study:
    """The questions that a stored study answers. Made by `open_study`.

    Attributes:
        name: The study's name.
        folder: Where models, checkpoints and the report lie; paths of rows are relative to it.
        url: The database's URL, password included: not for messages.
        record: The study as it was stored when it was opened.
    """

    def __init__(self, *, url: str, folder: Path, name: str) -> None:
        self.url = url
        self.folder = folder
        self.name = name
        self.record = self._read_record()

    def __repr__(self) -> str:
        return f"Study({self.name!r}, folder={str(self.folder)!r})"

    @property
    def database(self) -> str:
        """The database as messages name it: a file, or a server's URL without secrets."""
        return shown(database_url(self.url))

    @property
    def config(self) -> Mapping[str, Any]:
        """The study file as it was understood, plain JSON."""
        return self.record.config

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives; the first one ranks."""
        return self.record.objectives

    def trials(
        self,
        where: str | None = None,
        *,
        sort: str | None = None,
        limit: int | None = None,
        all_rungs: bool = False,
        role: str | None = None,
    ) -> list[CandidateRow]:
        """Return candidates, best first.

        Args:
            where: An expression over columns, such as `val_loss < 2 and params < 1e6`.
            sort: A column to sort by instead, descending after a `-`; empty cells come last.
            limit: The largest number of rows.
            all_rungs: One row for each measurement instead of one a candidate.
            role: Only `search`, `finalist`, `reference`, `own` or `extended`.

        Raises:
            InputError: If an argument is not understood or names an unknown column.
        """
        if role is not None and role not in ROLES:
            raise InputError(
                f"role: got '{role}', expected {' or '.join(ROLES)}{nearest(role, ROLES)}"
            )
        if limit is not None and limit < 0:
            raise InputError(f"limit: got {limit}, expected an integer >= 0")
        stored = self._rows(all_rungs=all_rungs)
        if sort is not None:
            self._check_columns("sort", [sort.removeprefix("-")], stored)
        rows = self._filter(stored, where) if where is not None else stored
        rows = [row for row in rows if role in (None, row.role)]
        ordered = ranking.sorted_by(rows, sort) if sort else self._best_first(rows)
        return ordered[:limit]

    def best(
        self,
        *,
        max_params: float | None = None,
        max_latency_ms: float | None = None,
        where: str | None = None,
    ) -> CandidateRow:
        """Return the best complete candidate of the search and its finals.

        Without a limit, that is the best seed of the architecture that won the finals, among those
        whose weights were kept; before there is a winner, the best complete candidate.

        Args:
            max_params: The largest number of parameters.
            max_latency_ms: The longest latency, where the study measured it.
            where: An expression as for `trials`.

        Raises:
            InputError: If `where` is not understood or no latency was measured.
            NotFoundError: If no candidate is complete, or none within the limits.
        """
        rows = self._rows()
        complete = _ranked(rows)
        if not complete:
            raise NotFoundError(self._nothing_complete(rows))
        limits = self._limits(complete, max_params, max_latency_ms, where)
        if not limits:
            return self._best_first(self._winners(complete) or complete)[0]
        within = complete
        for limit in limits:
            within = self._filter(within, limit)
        if not within:
            raise NotFoundError(
                f"study '{self.name}': none of {len(complete)} complete candidates has "
                f"{' and '.join(limits)}; see: nas trials {self.name} --sort params"
            )
        return self._best_first(within)[0]

    def candidate(self, id_or_prefix: str) -> CandidateRow:
        """Return one candidate by its id or the unambiguous start of it.

        Raises:
            NotFoundError: If there is none.
            InputError: If several begin so.
        """
        if not isinstance(id_or_prefix, str):
            raise InputError(
                f"candidate: got {id_or_prefix!r}, expected an id or the start of one as text; "
                f"see: nas trials {self.name}"
            )
        rows = self._rows()
        found = [row for row in rows if id_or_prefix and row.candidate_id.startswith(id_or_prefix)]
        if not found:
            raise NotFoundError(
                f"study '{self.name}': no candidate '{id_or_prefix}' among {len(rows)}; "
                f"see: nas trials {self.name}"
            )
        if len(found) > 1:
            ids = ", ".join(row.candidate_id for row in found[:4])
            more = ", ..." if len(found) > 4 else ""
            raise InputError(
                f"study '{self.name}': '{id_or_prefix}' begins {len(found)} candidates "
                f"({ids}{more}); write more of the id"
            )
        return found[0]

    def pareto(self, objectives: Sequence[str] | None = None) -> list[CandidateRow]:
        """Return the search's complete candidates that no other one beats in every objective.

        Args:
            objectives: Columns; by default the study's, and against `params` if it has only one.

        Raises:
            InputError: If no complete candidate has such a column.
        """
        wanted = tuple(objectives or self.objectives)
        if objectives is None and len(wanted) == 1:
            wanted = (*wanted, "params")
        rows = [row for row in _ranked(self._rows()) if row.role == "search"]
        self._check_columns("pareto", wanted, rows)
        return ranking.pareto_front(rows, wanted)

    def finalists(self) -> list[ranking.FinalistGroup]:
        """Return what was retrained from fresh seeds, by architecture, best mean first."""
        winner = (self.summary() or {}).get("winner")
        return ranking.finalist_groups(self._rows(), self.objectives[0], winner=winner)

    def evaluations(self, candidate_id: str | None = None) -> list[EvaluationRow]:
        """Return all measurements with their training curves, of one candidate or of all."""
        with Store.open(self.url) as store:
            return store.evaluations(self.record, candidate_id)

    def enqueue(
        self, shape: Mapping[str, Any] | Architecture, *, trust: bool = False
    ) -> Architecture:
        """Have a shape of your own tried next, when the search goes on or at once if it runs.

        It counts on top of the study's limit of candidates, also of one that is finished.

        Args:
            shape: Fields of the space's family, such as `{"n_layer": 4, "d_model": 128}`; those
                that the space fixes may be left out.
            trust: Whether a family of the user's own may be imported, which runs its code.

        Raises:
            InputError: If it is not in the space or not feasible, or was tried or asked for.
            UntrustedError: If the study names code outside nas that is not trusted.
        """
        from nas.config import check_code
        from nas.space import feasible_shape, space_of_study  # numpy: most questions need none

        check_code(self.config, f"study '{self.name}'", trust=trust)
        space = space_of_study(self.name, self.config, self.record.task_spec)
        wanted = feasible_shape(space, shape)
        with Store.open(self.url) as store:
            store.enqueue(self.record, wanted)
        return wanted

    def summary(self) -> Mapping[str, Any] | None:
        """Return the result that the search stored when it finished, None before."""
        return self._read_record().summary

    def to_dataframe(self, where: str | None = None, *, all_rungs: bool = False) -> Any:
        """Return `trials` as a pandas data frame, a column for each column of a row.

        Raises:
            InputError: If pandas is not installed, or `where` is not understood.
        """
        try:
            import pandas as pd  # type: ignore[import-untyped,unused-ignore]  # optional, no stubs
        except ImportError:
            raise InputError("to_dataframe needs pandas; run: pip install pandas") from None
        return pd.DataFrame([row.flat() for row in self.trials(where, all_rungs=all_rungs)])

    def optuna_study(self) -> optuna.Study:
        """Return Optuna's mirror of the study: a finished trial for each ended candidate.

        Raises:
            NotFoundError: If no candidate has ended yet.
        """
        from nas.store.mirror import load_study

        try:
            return load_study(self.url, self.name)
        except KeyError:
            raise NotFoundError(
                f"study '{self.name}': nothing for Optuna before a candidate has ended"
            ) from None

    def _read_record(self) -> StudyRecord:
        with Store.open(self.url) as store:
            return store.study(self.name)

    def _rows(self, *, all_rungs: bool = False) -> list[CandidateRow]:
        with Store.open(self.url) as store:
            return store.rows(self.record, all_rungs=all_rungs)

    def _best_first(self, rows: Sequence[CandidateRow]) -> list[CandidateRow]:
        """Order rows; those of another budget come last, since their losses do not compare."""
        found = ranking.best_first(rows, self.objectives[0])
        return sorted(found, key=lambda row: row.role == "extended")

    def _winners(self, complete: Sequence[CandidateRow]) -> list[CandidateRow]:
        winner = (self.summary() or {}).get("winner")
        return [row for row in complete if row.architecture_id == winner and row.model_path]

    def _columns(self, rows: Sequence[CandidateRow]) -> set[str]:
        return {
            *METRICS,
            *PLAIN_COLUMNS,
            *self.objectives,
            *(n for row in rows for n in row.flat()),
        }

    def _check_columns(
        self, where: str, names: Sequence[str], rows: Sequence[CandidateRow]
    ) -> None:
        known = self._columns(rows)
        for name in names:
            if name not in known:
                raise InputError(f"{where}: unknown column '{name}'{nearest(name, known)}")

    def _filter(self, rows: Sequence[CandidateRow], where: str) -> list[CandidateRow]:
        holds = parse_where(where, self._columns(rows))
        return [row for row in rows if holds(row.flat())]

    def _limits(
        self,
        complete: Sequence[CandidateRow],
        max_params: float | None,
        max_latency_ms: float | None,
        where: str | None,
    ) -> list[str]:
        """Return the limits of `best` as expressions."""
        limits = [where] if where is not None else []
        if max_params is not None:
            limits.append(f"params <= {max_params}")
        if max_latency_ms is not None:
            if all(ranking.number_of(row, LATENCY) is None for row in complete):
                raise InputError(
                    f"study '{self.name}': {LATENCY} was not measured; limit max_params instead"
                )
            limits.append(f"{LATENCY} <= {max_latency_ms}")
        return limits

    def _nothing_complete(self, rows: Sequence[CandidateRow]) -> str:
        states = Counter(row.state for row in rows).most_common()
        counts = ", ".join(f"{count} {state}" for state, count in states) or "none was tried yet"
        failed = [state for state, _ in states if state in FAILED_STATES]
        option = f" --state {failed[0]}" if failed else ""
        return (
            f"study '{self.name}': no complete candidate to load ({counts}); "
            f"see: nas trials {self.name}{option}"
        )


def _ranked(rows: Sequence[CandidateRow]) -> list[CandidateRow]:
    """Return the complete candidates but those trained beside the search."""
    return [row for row in rows if row.state == "complete" and row.role not in BESIDE_ROLES]


def newest_study() -> Study:
    """Open the study in the studies folder that was written to last.

    Raises:
        NotFoundError: If there is none.
    """
    names = list_studies()
    if not names:
        raise NotFoundError(f"no study in {studies_folder()}; start one with: nas search")
    return open_study(str(studies_folder() / names[0]))


def open_study(name_or_path_or_url: str | Path, *, database: str | None = None) -> Study:
    """Open a study that exists.

    Args:
        name_or_path_or_url: A database URL (`...#name` where it holds several studies), a study's
            folder or its study.db, or the name of a study in the studies folder; in this order.
        database: The URL of the server that the study is on with the password, where that is
            neither in `NAS_DATABASE` nor where libpq finds it.

    Raises:
        NotFoundError: If there is no such study.
        InputError: If a database holds several studies and none is named.
        StoreError: If the database is unusable.
    """
    place = find_place(name_or_path_or_url, database)
    by_path = place.folder is not None and not is_url(str(name_or_path_or_url))
    with Store.open(place.url) as store:
        name = _name(store, place, only=by_path)
        record = store.study(name)
        folder = place.folder or folder_of(record)
        return Study(url=store.url, folder=folder.absolute(), name=name)


def _name(store: Store, place: Place, *, only: bool) -> str:
    """Return the study that is meant; `only`: a single one will do, whatever its name."""
    if place.name:
        return place.name
    names = store.studies()
    if len(names) == 1:
        return names[0]
    if only and place.folder is not None:
        return place.folder.absolute().name
    raise InputError(
        f"{store.where}: which study? append #NAME to the URL; "
        f"it holds: {', '.join(names) or 'none'}"
    )
