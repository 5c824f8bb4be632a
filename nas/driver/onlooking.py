"""A look at a search from another process: what its database says, and whether anybody runs it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from nas.driver.claim import at_work
from nas.driver.standing import Standing
from nas.errors import StoreError
from nas.records import from_plain
from nas.store import ranking
from nas.store.lease import owner_words
from nas.store.rows import CandidateRow, StudyRecord
from nas.store.store import Store
from nas.study import Study

IN_TRAINING = ("running", "interrupted")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What can be seen of a search.

    Attributes:
        record: The study as it is stored now.
        worker: In words, who works on it; empty: nobody does.
        standing: Where it stands; without anybody at work nothing in it runs.
        age: Seconds since the driver said so; None: reckoned from the candidates.
    """

    record: StudyRecord
    worker: str
    standing: Standing
    age: float | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come, unless somebody starts it again."""
        return self.record.state == "finished" or not self.worker


class Onlooker:
    """Looks at one search, again and again.

    Args:
        study: The study.
        store: Its database, open; only read.
    """

    def __init__(self, study: Study, store: Store) -> None:
        self._study, self._store = study, store
        self._seen: dict[str, tuple[str, int | None]] = {}  # states and rungs, by candidate

    def look(self) -> View:
        """Return how the search stands now.

        Raises:
            StoreError: If the database cannot be read.
        """
        record = self._store.study(self._study.name)
        worker, since = self._worker(record)
        stored = self._store.standing(record)
        # One that is older is of a search before this one, which may have been killed.
        if not worker or stored is None or stored[1].isoformat() < since:
            return View(record=record, worker=worker, standing=self._reckoned(record), age=None)
        content, when = stored
        age = max(0.0, (datetime.now(UTC) - when).total_seconds())
        try:
            standing = from_plain(Standing, content)
        except TypeError as error:
            raise StoreError(f"{self._store.where}: unreadable standing ({error})") from error
        return View(record=record, worker=worker, standing=standing.later(age), age=age)

    def news(self) -> list[CandidateRow]:
        """Return candidates whose training ended or paused since they were last asked for."""
        rows = [row for row in self._store.rows(self._study.record) if row.state != "running"]
        now = {row.candidate_id: (row.state, row.rung) for row in rows}
        new = [row for row in rows if self._seen.get(row.candidate_id) != now[row.candidate_id]]
        self._seen = now
        return sorted(new, key=lambda row: row.finished_at or row.created_at)

    def _worker(self, record: StudyRecord) -> tuple[str, str]:
        """Return who works on the study, in words, and since when; empty: nobody does."""
        claimed = self._store.is_claimed(record.name)
        if claimed is None:
            owner = at_work(self._study.folder)
            return ("", "") if owner is None else (owner.words(), owner.since)
        stored = record.owner or {}
        return (owner_words(stored), str(stored.get("since", ""))) if claimed else ("", "")

    def _reckoned(self, record: StudyRecord) -> Standing:
        """Return where a search stands by its candidates, when nobody says it."""
        rows = self._store.rows(record)
        search = [row for row in rows if row.role == "search"]
        states = Counter(row.state for row in search)
        summary = record.summary or {}
        complete = [row for row in search if row.state == "complete"]
        ranked = ranking.best_first(complete, record.objectives[0])
        own = [row for row in ranked if row.architecture_id == summary.get("reference")]
        values = [
            ranking.number_of(group[0], record.objectives[0]) if group else None
            for group in (ranked, own)
        ]
        return Standing(
            done=len(search) - sum(states[state] for state in IN_TRAINING),
            limit=(record.config.get("stop") or {}).get("candidates"),
            best=values[0],
            reference=values[1],
            elapsed=float(summary.get("elapsed_seconds", 0.0)),
        )
