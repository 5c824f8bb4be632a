"""Where a search stands: stored while it runs, and looked at from elsewhere."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

import nas
from nas.driver.claim import at_work, claim
from nas.driver.events import CandidateEnded, FinalsStarted, Note
from nas.driver.onlooking import Onlooker
from nas.driver.standing import STORE_SECONDS, KeptStanding, Standing
from nas.records import TaskSpec, from_plain
from nas.store.patience import AwayError
from nas.store.store import Store


def stored(study):
    with Store.open(study.url) as store:
        return from_plain(Standing, store.standing(study.record)[0])


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_search_stores_where_it_stands_and_others_see_it(configure, monkeypatch):
    monkeypatch.setattr("nas.driver.standing.STORE_SECONDS", 0.0)
    events = []
    study = nas.search(configure(), listener=events.append)
    standing = stored(study)
    [finals] = [event for event in events if isinstance(event, FinalsStarted)]
    assert (standing.done, standing.limit, standing.slots, standing.running) == (4, 4, 1, ())
    assert standing.finals == standing.finals_done == finals.trainings
    assert standing.best == study.trials(role="search", limit=1)[0].metrics["val_loss"]
    assert standing.ended == sum(isinstance(event, CandidateEnded) for event in events)
    reference = study.summary()["reference"]
    [own] = [row for row in study.trials(role="search") if row.architecture_id == reference]
    assert standing.reference == own.metrics["val_loss"]
    with Store.open(study.url) as store:
        look_after_its_end(study, store, standing)
        look_while_somebody_works(study, store)


def look_after_its_end(study, store, standing):
    """Nobody says where it stands: that is reckoned, and each end is told once."""
    onlooker = Onlooker(study, store)
    view = onlooker.look()
    assert (view.is_over, view.worker, view.age) == (True, "", None)
    assert (view.standing.done, view.standing.best) == (4, standing.best)
    assert view.standing.reference == standing.reference
    assert len(onlooker.news()) == len(study.trials())
    assert onlooker.news() == []


def look_while_somebody_works(study, store):
    """Who it is comes from the claim; the standing of the search before counts no more."""
    with claim(study.folder):
        store.set_state(study.record, "running")
        view = Onlooker(study, store).look()
        assert not view.is_over
        assert view.worker.startswith("a search of ")
        store.set_standing(study.record, {"done": 3, "remaining": 50.0, "slots": 1})
        view = Onlooker(study, store).look()
        assert view.standing.done == 3
        assert view.standing.remaining == pytest.approx(50 - view.age)
        long_ago = datetime.now(UTC) - timedelta(days=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nas.store.writes.now", lambda: long_ago)
            store.set_standing(study.record, {"done": 2})
        view = Onlooker(study, store).look()
        assert (view.age, view.standing.done) == (None, 4)
    assert at_work(study.folder) is None


class Counting(Store):
    """A database that notes when a standing is stored, and may be away."""

    away = False

    def set_standing(self, study, content):
        self.writes.append(self.clock.now)
        if self.away:
            raise AwayError("gone")
        super().set_standing(study, content)


def test_it_is_stored_every_two_seconds_at_most_and_not_waited_for(tmp_path):
    with Counting.open(tmp_path / "study.db", create=True) as store:
        store.clock, store.writes = Clock(), []
        record = store.create_study(
            "tiny", config={}, identity={}, rungs=(1,), objectives=("val_loss",), versions={},
            data_fingerprint="abc", task_spec=TaskSpec(task="t", head="h", vocab_size=1, context=1),
        )  # fmt: skip
        kept = KeptStanding(store, record, store.clock)
        finals = FinalsStarted(architectures=1, trainings=2, reason="enough")
        for _ in range(20):
            kept(finals)
            store.clock.now += STORE_SECONDS / 8
        assert store.writes == [0, 2, 4]
        store.clock.now += 10
        kept(Note(text="nothing to store"))
        store.away = True
        kept(finals)
        kept(finals)
        assert len(store.writes) == 4
        assert store.standing(record)[0] == {"finals": 2, "elapsed": 4.0}


@pytest.mark.slow
def test_a_search_is_watched_while_it_runs_and_when_it_was_killed(tmp_path, configure, monkeypatch):
    import yaml

    config = configure(
        executor="processes", workers=2, per_candidate={"tokens": 40_000_000, "eta": 1}
    )
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(config.to_plain()))
    search = subprocess.Popen([sys.executable, "-m", "nas", "search", "long.yaml"], cwd=tmp_path)
    try:
        study = wait_for_study(search)
        with Store.open(study.url) as store:
            onlooker = Onlooker(study, store)
            first = wait_for(onlooker, lambda view: any(r.tokens for r in view.standing.running))
            [one, *_] = first.standing.running
            later = wait_for(
                onlooker,
                lambda view: any(
                    r.candidate_id == one.candidate_id and r.tokens > one.tokens
                    for r in view.standing.running
                ),
            )
            assert later.age < 10
            assert later.standing.slots == 2
            search.kill()
            search.wait()
            view = onlooker.look()
            assert (view.is_over, view.record.state, view.standing.running) == (True, "running", ())
    finally:
        search.send_signal(signal.SIGKILL)
        search.wait()


def wait_for_study(search):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert search.poll() is None
        try:
            return nas.open_study("long")
        except nas.errors.NasError:
            time.sleep(0.2)
    raise AssertionError("no study")


def wait_for(onlooker, holds):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        view = onlooker.look()
        if holds(view):
            return view
        time.sleep(0.2)
    raise AssertionError("not seen")
