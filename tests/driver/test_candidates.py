"""The orders in which candidates are kept are those of sorting all of them anew."""

import random
from dataclasses import replace
from datetime import UTC, datetime

from nas.driver.candidates import Candidates
from nas.records import CheckpointRef, Recipe
from nas.store import ranking
from nas.store.rows import CandidateRow
from nas.strategies import Observation

CHECKPOINT = CheckpointRef(uri="checkpoints/a", sha256="00", bytes=7, tokens=100)
STATES = ("running", "paused", "complete", "diverged", "interrupted")


def a_row(number, **changes):
    return CandidateRow(
        study="tiny", number=number, role="search", candidate_id=f"c{number}",
        architecture_id=f"a{number // 2}", family="llama", shape={},
        recipe=Recipe(context=8, batch=2, rate=0.01), seed=0, data_fingerprint="", budget=None,
        state="running", rung=None, tokens=0, seconds=0.0, params=1, flops_per_token=1.0,
        train_memory_bytes=1, columns={}, parameters={}, metrics={}, model_path=None,
        checkpoint=None, timings={}, error="", traceback="", created_at=datetime.now(UTC),
        finished_at=None, **changes,
    )  # fmt: skip


def observed(row):
    return Observation(
        number=row.number,
        architecture_id=row.architecture_id,
        parameters={},
        state=row.state,
        values=(row.metrics["val_loss"],) if row.state == "complete" else None,
    )


def changed(row, luck):
    state = luck.choice(STATES)
    return replace(
        row,
        state=state,
        metrics={"val_loss": luck.choice((1.0, luck.random()))},
        checkpoint=luck.choice((None, CHECKPOINT)),
        model_path=luck.choice((None, "models/x")) if state == "complete" else None,
    )


def test_orders_are_those_of_sorting_anew():
    luck = random.Random(0)
    kept = Candidates("val_loss", observed, lambda row: row.number % 3 > 0)
    for _ in range(300):
        number = luck.randrange(40)
        row = kept.rows.get(f"c{number}") or a_row(number)
        kept.put(changed(row, luck))
        search = sorted(kept.rows.values(), key=lambda row: row.number)
        done = [row for row in search if row.state == "complete"]
        waiting = {r.number: r for r in search if r.state == "paused" and r.checkpoint}
        assert list(kept.search) == search
        assert list(kept.complete) == ranking.best_first(done, "val_loss")
        assert kept.history == tuple(observed(row) for row in search)
        assert kept.waiting == waiting
        assert kept.resumable == {number for number in waiting if number % 3}
        assert kept.tried() == sum(r.state not in ("running", "interrupted") for r in search)
        assert kept.shapes == {row.architecture_id for row in search}
        assert kept.models == {r.candidate_id: r for r in search if r.model_path}


def test_history_is_the_same_object_until_something_in_it_changes():
    kept = Candidates("val_loss", observed, lambda _row: True)
    kept.put(a_row(0))
    before = kept.history
    kept.put(a_row(0))
    assert kept.history is before
    kept.put(replace(a_row(0), state="paused", checkpoint=CHECKPOINT))
    assert kept.history is not before


def test_other_roles_are_no_part_of_the_search():
    kept = Candidates("val_loss", observed, lambda _row: True)
    kept.put(replace(a_row(0), role="finalist", state="complete", metrics={"val_loss": 1.0}))
    assert (len(kept.rows), list(kept.search), list(kept.complete)) == (1, [], [])
