"""Where a search stands: stored while it runs, and looked at from elsewhere."""

import itertools
import signal
import subprocess
import sys
import time

import pytest

import nas
from nas.driver.claim import at_work, claim
from nas.driver.events import CandidateEnded, FinalsStarted, Note
from nas.driver.onlooking import Onlooker
from nas.driver.standing import STORE_SECONDS, KeptStanding, Standing
from nas.records import from_plain
from nas.store.patience import AwayError
from nas.store.store import Store


def stored(study):
    with Store.open(study.url) as store:
        return from_plain(Standing, store.standing(study.record)[0])


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Events:
    """The events of a real search, to be told again."""

    def __init__(self):
        self.all = []

    def __call__(self, event):
        self.all.append(event)


@pytest.fixture
def searched(configure):
    events = Events()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.driver.standing.STORE_SECONDS", 0.0)
        return nas.search(configure(), listener=events), events.all


def test_a_search_stores_where_it_stands(searched):
    study, events = searched
    standing = stored(study)
    [finals] = [event for event in events if isinstance(event, FinalsStarted)]
    assert (standing.done, standing.limit, standing.slots, standing.running) == (4, 4, 1, ())
    assert standing.finals == standing.finals_done == finals.trainings
    assert standing.best == study.trials(role="search", limit=1)[0].metrics["val_loss"]
    reference = study.summary()["reference"]
    [own] = [row for row in study.trials(role="search") if row.architecture_id == reference]
    assert standing.reference == own.metrics["val_loss"]
    assert standing.ended == sum(isinstance(event, CandidateEnded) for event in events)


def test_it_is_stored_every_two_seconds_at_most_and_a_database_that_is_away_is_not_waited_for(
    searched,
):
    study, events = searched
    clock, writes = Clock(), []

    class Counting(Store):
        away = False

        def set_standing(self, record, content):
            writes.append(clock.now)
            if self.away:
                raise AwayError("gone")
            super().set_standing(record, content)

    with Counting.open(study.url) as store:
        kept = KeptStanding(store, study.record, clock)
        for event in events:
            clock.now += STORE_SECONDS / 10
            kept(event)
        assert len(writes) >= 2
        assert all(b - a >= STORE_SECONDS - 1e-9 for a, b in itertools.pairwise(writes))
        clock.now += 10
        kept(Note(text="nothing to store"))
        before = len(writes)
        store.away = True
        kept(events[0])
        kept(events[1])
        assert len(writes) == before + 1


def test_onlooker_reckons_what_nobody_says_and_tells_each_end_once(searched):
    study, _ = searched
    with Store.open(study.url) as store:
        onlooker = Onlooker(study, store)
        view = onlooker.look()
        assert (view.is_over, view.worker, view.age) == (True, "", None)
        assert view.standing.done == 4
        assert view.standing.best == stored(study).best
        assert view.standing.reference == stored(study).reference
        assert len(onlooker.news()) == len(study.trials())
        assert onlooker.news() == []


def test_onlooker_sees_who_works_and_no_standing_of_an_earlier_search(searched):
    study, _ = searched
    with Store.open(study.url) as store, claim(study.folder):
        store.set_state(study.record, "running")
        view = Onlooker(study, store).look()
        assert not view.is_over
        assert view.worker.startswith("a search of ")
        # The finished search has stored it in this second, in which this one has begun.
        assert (view.age is None) == (view.standing.slots == 0)
        store.set_standing(study.record, {"done": 3, "remaining": 50.0, "slots": 1})
        view = Onlooker(study, store).look()
        assert view.standing.done == 3
        assert view.standing.remaining == pytest.approx(50 - view.age)
    assert at_work(study.folder) is None


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
