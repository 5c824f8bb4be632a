"""The result of a search, and whose weights are kept for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nas.driver.budgets import amounts_of
from nas.driver.events import Listener
from nas.driver.latency import confirm
from nas.driver.ledger import Ledger
from nas.driver.opening import OpenedStudy
from nas.executors import Executor
from nas.finals import summarise
from nas.records import BESIDE_ROLES, FINAL_ROLES
from nas.store import ranking
from nas.store.hypervolume import front_summary
from nas.store.rows import CandidateRow
from nas.strategies.halving import Fidelity


class SearchResult:
    """What one search has to show.

    Args:
        opened: The study.
        ledger: Its candidates.
        reference_id: Architecture id of the reference, None if the space has none.
    """

    def __init__(self, opened: OpenedStudy, ledger: Ledger, reference_id: str | None) -> None:
        self._opened, self._ledger, self._reference_id = opened, ledger, reference_id

    def kept(self, summary: Mapping[str, Any] | None) -> set[str]:
        """Return the candidates whose weights are kept: the best, winner and reference.

        Those that the user had trained beside the search stay too.
        """
        rows = self._ledger.models()
        beside = {row.candidate_id for row in rows if row.role in BESIDE_ROLES}
        done = [row for row in rows if row.state == "complete" and row.role not in BESIDE_ROLES]
        kept = ranking.best_first(done, self._ledger.objective)
        if summary is None:  # the finals are open: keep what was trained for them
            first = [row for row in kept if row.role == "search"][: self._opened.config.keep]
            finals = [row for row in kept if row.role != "search"]
            before = self._of_earlier_finals(kept)
            return beside | {row.candidate_id for row in (*finals, *first, *before)}
        wanted = beside | {row.candidate_id for row in kept[: self._opened.config.keep]}
        for architecture_id in (summary["winner"], self._reference_id):
            own = [row for row in kept if row.architecture_id == architecture_id]
            wanted.update(row.candidate_id for row in own[:1])
        return wanted

    def _of_earlier_finals(self, rows: Sequence[CandidateRow]) -> Iterable[CandidateRow]:
        """Return the best row of each shape that had its finals: it may win them again.

        Args:
            rows: Those with weights, best first.
        """
        best: dict[str, CandidateRow] = {}
        for row in rows:
            of_shape = self._ledger.of_shape(row.architecture_id)
            if any(one.role in FINAL_ROLES for one in of_shape):
                best.setdefault(row.architecture_id, row)
        return best.values()

    def summary(
        self, executor: Executor, fidelity: Sequence[Fidelity], listener: Listener
    ) -> dict[str, Any]:
        """Return the result (see `finals.summarise`) with the front and what rungs were worth.

        Args:
            executor: Measures the winner where there is a limit on latency; runs nothing now.
            fidelity: How well each rung ranked.
            listener: Told of those that are too slow.
        """
        objectives, reference_id = self._opened.record.objectives, self._reference_id
        groups = ranking.finalist_groups(self._ledger.rows.values(), objectives[0])
        complete = self._ledger.complete()
        too_slow, summary = confirm(self._opened, executor, groups, complete, listener)
        summary |= summarise(groups, complete, objectives[0], reference_id, too_slow=too_slow)
        if len(objectives) > 1:
            summary["pareto"] = front_summary(complete, objectives)
        return summary | {"fidelity": [self._at_rung(one) for one in fidelity]}

    def _at_rung(self, one: Fidelity) -> dict[str, Any]:
        """Return what a rung was worth, with the reference's tokens and the budget's own unit."""
        record = self._opened.record
        return {
            "tokens": record.rungs[one.rung],
            "unit": self._opened.config.budget.unit,
            "amount": amounts_of(record)[one.rung],
            **asdict(one),
        }
