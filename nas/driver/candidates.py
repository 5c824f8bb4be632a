"""A study's candidates in memory, in the orders that the driver asks for at every turn.

Each is put in its places when it changes, so that a turn costs the same with 5,000 candidates as
with a hundred. What is returned is what is kept: callers read it and do not change it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set

from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.strategies import Observation
from nas.tasks.metrics import badness

IN_TRAINING = ("running", "interrupted")


class Candidates:
    """Rows by id, and the orders that follow from them.

    Args:
        objective: The column that ranks.
        observe: Returns what a strategy may know of a candidate of the search.
        may_go_on: Says whether a paused candidate with a checkpoint is one that may be promoted.
    """

    def __init__(
        self,
        objective: str,
        observe: Callable[[CandidateRow], Observation],
        may_go_on: Callable[[CandidateRow], bool],
    ) -> None:
        self._objective, self._observe, self._may_go_on = objective, observe, may_go_on
        self._rows: dict[str, CandidateRow] = {}
        self._models: dict[str, CandidateRow] = {}
        self._by_shape: dict[str, dict[str, CandidateRow]] = {}
        # Of the search proper: numbers, rows and observations in the order of proposal, side by
        # side; complete ones by rank, the same way; paused ones with a checkpoint by number.
        self._numbers: list[int] = []
        self._search: list[CandidateRow] = []
        self._observed: list[Observation] = []
        self._ranks: list[tuple[float, int]] = []
        self._complete: list[CandidateRow] = []
        self._waiting: dict[int, CandidateRow] = {}
        self._resumable: set[int] = set()
        self._states: Counter[str] = Counter()
        self._shapes: Counter[str] = Counter()
        self._history: tuple[Observation, ...] | None = None

    @property
    def rows(self) -> Mapping[str, CandidateRow]:
        """All candidates by id."""
        return self._rows

    @property
    def models(self) -> Mapping[str, CandidateRow]:
        """Those of which weights are kept, by id."""
        return self._models

    @property
    def search(self) -> Sequence[CandidateRow]:
        """Those of the search proper, in the order of proposal."""
        return self._search

    @property
    def complete(self) -> Sequence[CandidateRow]:
        """The search's complete candidates, best first."""
        return self._complete

    @property
    def waiting(self) -> Mapping[int, CandidateRow]:
        """The search's paused candidates of which a checkpoint is kept, by number."""
        return self._waiting

    @property
    def resumable(self) -> Set[int]:
        """Numbers of those of them that may go on."""
        return self._resumable

    @property
    def shapes(self) -> Set[str]:
        """Architecture ids that the search has tried."""
        return self._shapes.keys()

    @property
    def history(self) -> tuple[Observation, ...]:
        """What a strategy may know; the same object for as long as nothing in it changes."""
        if self._history is None:
            self._history = tuple(self._observed)
        return self._history

    def of_shape(self, architecture_id: str) -> Sequence[CandidateRow]:
        """Return all candidates of a shape, also those of the finals."""
        return list(self._by_shape.get(architecture_id, {}).values())

    def tried(self) -> int:
        """Return how many candidates of the search are not in training."""
        return len(self._search) - sum(self._states[state] for state in IN_TRAINING)

    def put(self, row: CandidateRow) -> None:
        """Take in a candidate as it is now."""
        before = self._rows.get(row.candidate_id)
        self._rows[row.candidate_id] = row
        self._by_shape.setdefault(row.architecture_id, {})[row.candidate_id] = row
        self._models.pop(row.candidate_id, None)
        if row.model_path:
            self._models[row.candidate_id] = row
        if before is not None and before.role == "search":
            self._leave(before, keep_place=row.role == "search" and row.number == before.number)
        if row.role == "search":
            self._enter(row)

    def _leave(self, row: CandidateRow, *, keep_place: bool) -> None:
        """Forget what was said of a candidate of the search."""
        self._states[row.state] -= 1
        self._shapes[row.architecture_id] -= 1
        if not self._shapes[row.architecture_id]:
            del self._shapes[row.architecture_id]
        self._waiting.pop(row.number, None)
        self._resumable.discard(row.number)
        if row.state == "complete":
            at = bisect_left(self._ranks, self._rank(row))
            del self._ranks[at], self._complete[at]
        if not keep_place:
            at = bisect_left(self._numbers, row.number)
            del self._numbers[at], self._search[at], self._observed[at]
            self._history = None

    def _enter(self, row: CandidateRow) -> None:
        self._states[row.state] += 1
        self._shapes[row.architecture_id] += 1
        if row.state == "paused" and row.checkpoint is not None:
            self._waiting[row.number] = row
            if self._may_go_on(row):
                self._resumable.add(row.number)
        if row.state == "complete":
            at = bisect_left(self._ranks, self._rank(row))
            self._ranks.insert(at, self._rank(row))
            self._complete.insert(at, row)
        self._place(row, self._observe(row))

    def _place(self, row: CandidateRow, seen: Observation) -> None:
        at = bisect_left(self._numbers, row.number)
        if at == len(self._numbers) or self._numbers[at] != row.number:
            insort(self._numbers, row.number)
            self._search.insert(at, row)
            self._observed.insert(at, seen)
            self._history = None
            return
        self._search[at] = row
        if self._observed[at] != seen:  # one that says the same stays: others know it by identity
            self._observed[at] = seen
            self._history = None

    def _rank(self, row: CandidateRow) -> tuple[float, int]:
        return badness(ranking.number_of(row, self._objective), self._objective), row.number
