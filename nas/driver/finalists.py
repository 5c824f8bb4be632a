"""The finals: who is trained again from fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.store.rows import CandidateRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """One architecture in the finals."""

    architecture_id: str
    number: int  # of its candidate in the search
    is_reference: bool


def entrants(complete: Sequence[CandidateRow], reference_id: str | None, top: int) -> list[Entrant]:
    """Return who is trained again: the best `top`, and the reference wherever it came.

    Args:
        complete: The search's complete candidates, best first.
        reference_id: Architecture id of the reference, if there is one.
        top: How many of the best; 0: there are no finals.
    """
    chosen: list[CandidateRow] = []
    seen: set[str] = set()
    for row in complete if top else ():
        is_reference = row.architecture_id == reference_id
        # Of one shape at several rates the best counts.
        if row.architecture_id not in seen and (len(seen) < top or is_reference):
            chosen.append(row)
        seen.add(row.architecture_id)
        if len(seen) >= top and (reference_id is None or reference_id in seen):
            break  # the rest are neither
    return [
        Entrant(
            architecture_id=row.architecture_id,
            number=row.number,
            is_reference=row.architecture_id == reference_id,
        )
        for row in chosen
    ]
