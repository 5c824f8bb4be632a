"""A database that goes away: what is tried again, what is not done twice, and who has the study."""

import dataclasses
import signal
import sqlite3
import threading
import time

import pytest

from nas.errors import InputError, StoreError
from nas.records import CheckpointRef, Numerics
from nas.store import patience
from nas.store.mirror import Mirror, trials_of
from nas.store.patience import AwayError, LeaseLostError, Patience
from nas.store.store import Store

CHECKPOINT = CheckpointRef(uri="checkpoints/a", sha256="00", bytes=7, tokens=100)
NUMERICS = Numerics(device="cpu", precision="bf16", attention="bmm", threads=1)


def test_nothing_is_tried_again_unasked():
    tries = []

    def work():
        tries.append(1)
        raise AwayError("gone")

    with pytest.raises(AwayError):
        Patience().run(work, lambda: None)
    assert len(tries) == 1


def test_patience_ends_and_is_not_had_twice(monkeypatch):
    monkeypatch.setattr(patience, "SECONDS", 0.5)
    notes, let_go = [], []

    def work():
        raise AwayError("the-server: gone")

    waiting = Patience(notes.append)
    begun = time.monotonic()
    with pytest.raises(
        StoreError, match=r"gone; waited 0 s for it in vain.*is intact: run"
    ) as error:
        waiting.run(work, lambda: let_go.append(1))
    assert not isinstance(error.value, AwayError)
    assert 0.1 < time.monotonic() - begun < 5
    assert len(let_go) >= 2
    assert len(notes) == 1
    begun = time.monotonic()
    with pytest.raises(StoreError, match="in vain"):  # whoever cleans up does not wait again
        waiting.run(work, lambda: None)
    assert time.monotonic() - begun < 0.1
    assert len(notes) == 1


def test_who_wants_to_leave_waits_for_moments_only(monkeypatch):
    monkeypatch.setattr(patience, "LEAVE_SECONDS", 0.4)
    notes, tries, back = [], [], []

    def work():
        tries.append(1)
        if back:
            return "stored"
        raise AwayError("the-server: gone")

    waiting = Patience(notes.append, leave=lambda: len(tries) > 1)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        waiting.run(work, lambda: None)
    assert 0.4 < time.monotonic() - begun < 5
    assert len(tries) > 2, "it may come back in these moments"
    assert [note.split(" ")[0] for note in notes] == ["the", "leaving"]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # nor does whoever cleans up
        waiting.run(work, lambda: None)
    assert time.monotonic() - begun < 0.2
    assert len(notes) == 2
    back.append(1)
    assert waiting.run(work, lambda: None) == "stored"


def test_other_errors_are_not_tried_again():
    tries = []

    def work():
        tries.append(1)
        raise StoreError("damaged")

    with pytest.raises(StoreError, match="damaged"):
        Patience([].append).run(work, lambda: None)
    assert len(tries) == 1


def test_a_sqlite_file_that_another_process_writes_is_waited_for(tmp_path, build, monkeypatch):
    monkeypatch.setattr("nas.store.engine.BUSY_SECONDS", 0.05)
    notes = []
    with Store.open(tmp_path / "study.db", create=True) as store:
        store.wait_when_away(notes.append)
        other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = threading.Thread(target=build.study, args=(store,))
        writing.start()
        time.sleep(0.4)
        other.execute("ROLLBACK")
        other.close()
        writing.join()
        assert store.studies() == ["tiny"]
    assert "locked" in notes[0]
    assert "is back" in notes[1]


def story(store, build):
    """Write all that a search writes, and return what is stored, but for times."""
    study = build.study(store, evidence=[(build.candidate(d_ff=64).architecture, 2.5)])
    first, second = build.candidate(), build.candidate(seed=1)
    build.add(store, study, first)
    build.add(store, study, second, number=1)
    store.set_numerics(study, NUMERICS)
    store.set_pace(study, 1e9, (100, 300))
    store.enqueue(study, build.candidate(n_layer=3).architecture)
    store.set_checkpoint(study, first.id, CHECKPOINT)
    left = build.outcome(first, state="interrupted", checkpoint=CHECKPOINT, timings={"train": 1.0})
    store.record_outcome(study, dataclasses.replace(left, tokens=100))
    store.set_candidate_state(study, first.id, "running")
    paused = build.outcome(first, build.evaluation(0, 2.0), state="paused", timings={"train": 2.0})
    store.record_outcome(study, paused)
    done = build.outcome(
        first, build.evaluation(1, 1.5), model_saved=True, model_bytes=9, timings={"train": 4.0}
    )
    store.record_outcome(study, done)
    store.record_outcome(study, build.outcome(second, state="oom", error="too large"))
    store.record_model(study, second.id, path="models/b", size_bytes=3, sha256="0f")
    store.drop_model(study, second.id)
    store.set_role(study, second.id, role="finalist", number=7)
    store.set_summary(study, {"winner": "abc"})
    store.update_config(study, {"keep": 3})
    store.set_state(study, "finished")
    rows = [
        dataclasses.replace(row, created_at=None, finished_at=None) for row in store.rows(study)
    ]
    found = dataclasses.replace(store.study("tiny"), created_at=None, study_id=0)
    return rows, store.evaluations(study), found, store.enqueued(study), store.evidence(study)


@dataclasses.dataclass(frozen=True)
class Number:
    name: str
    low: int
    high: int
    step: int = 1


def mirror_of(store):
    return Mirror(
        store.url,
        "tiny",
        objectives=("val_loss",),
        parameters=[Number("n_layer", 1, 8)],
        patience=store.patience,
    )


@pytest.mark.slow
def test_writes_whose_answer_was_lost_are_done_once(postgres, postgres_url, proxy, build):
    """Every transaction is stored while its answer is lost, and then tried again."""
    notes = []
    plain = postgres.new_database()
    with Store.open(postgres.url(plain), create=True) as store:
        expected = story(store, build)
    postgres.drop(plain)
    url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/")
    with Store.open(url, create=True) as store:
        store.wait_when_away(notes.append)
        proxy.cut_commits(lambda number: number % 2 == 0)
        assert story(store, build) == expected
    assert proxy.cuts > 20
    assert len(notes) == 2 * proxy.cuts, "each was noticed, and over at once"


@pytest.mark.slow
def test_a_trial_whose_answer_was_lost_is_shown_once(postgres, postgres_url, proxy, build):
    notes = []
    url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/")
    with Store.open(url, create=True) as store:
        story(store, build)
        rows = store.rows(store.study("tiny"))
        store.wait_when_away(notes.append)
        mirror = mirror_of(store)
        assert len(mirror.missing(rows)) == 1  # it has made Optuna's tables
        proxy.cut_commits(lambda number: number == 0)
        assert not mirror.add(rows), "when it was tried again it was there"
        mirror.close()
    assert proxy.cuts == 1
    assert len(notes) == 2
    assert [trial.value for trial in trials_of(postgres_url, "tiny")] == [1.5]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT])
def test_server_that_is_started_again_is_waited_for(postgres, postgres_url, build, how):
    notes = []
    with Store.open(postgres_url, create=True) as store:
        store.wait_when_away(notes.append)
        study = build.study(store)
        postgres.stop(how)
        starting = threading.Timer(1.0, postgres.start)
        starting.start()
        try:
            build.add(store, study, build.candidate())
        finally:
            starting.join()
        assert len(store.rows(study)) == 1
    assert len(notes) == 2, notes
    assert "is away; trying again for 90 s" in notes[0]
    assert "is back after" in notes[1]
    assert not any("im-17" in note for note in notes)


@pytest.mark.slow
def test_a_study_that_is_at_work_elsewhere_is_refused_with_its_owner(postgres_url, build, tmp_path):
    with Store.open(postgres_url, create=True) as one, Store.open(postgres_url) as other:
        one.claim("tiny", tmp_path / "here")
        with pytest.raises(InputError, match=r"study 'tiny': another search .* another process"):
            other.claim("tiny", tmp_path / "there")  # not stored yet, and nobody's second time
    with Store.open(postgres_url) as one:
        one.claim("tiny", tmp_path / "here")
        build.study(one)
        with Store.open(postgres_url) as other:
            owner = rf"process {one.owner['process']}, since 20\d\d-.*, in {tmp_path}/here"
            with pytest.raises(InputError, match=owner):
                other.claim("tiny", tmp_path / "there")
        with Store.open(postgres_url) as other:
            other.claim("another", tmp_path / "there")
        assert one.study("tiny").owner == one.owner
    with Store.open(postgres_url) as other:
        other.claim("tiny", tmp_path / "there")  # closing let it go
        assert other.study("tiny").owner["folder"] == f"{tmp_path}/here"
        other.sign(other.study("tiny"))
        assert other.study("tiny").owner["folder"] == f"{tmp_path}/there"


@pytest.mark.slow
def test_who_comes_back_and_finds_its_study_taken_writes_nothing_more(
    postgres, postgres_url, build, tmp_path
):
    with Store.open(postgres_url, create=True) as one, Store.open(postgres_url) as other:
        one.claim("tiny", tmp_path / "here")
        one.wait_when_away([].append)
        study = build.study(one)
        build.add(one, study, build.candidate(seed=1))
        one.record_outcome(study, build.outcome(build.candidate(seed=1), build.evaluation()))
        [done] = one.rows(study)
        postgres.execute("SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.objsubid = 1")
        other.claim("tiny", tmp_path / "there")
        other.sign(study)
        with pytest.raises(LeaseLostError, match=r"was taken over while .*there; this search ends"):
            build.add(one, study, build.candidate())
        with pytest.raises(LeaseLostError):  # nor does the mirror, which has no lock
            mirror_of(one).missing([done])
        assert other.rows(study) == [done]


@pytest.mark.slow
def test_a_wire_that_is_cut_does_not_lose_the_study(postgres, postgres_url, proxy, build, tmp_path):
    """The server holds the dead session's lock for a while, and nobody else is taken for it."""
    notes = []
    url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/")
    with Store.open(url, create=True) as one:
        one.claim("tiny", tmp_path / "here")
        one.wait_when_away(notes.append)
        study = build.study(one)
        proxy.cut_clients()
        noticing = threading.Timer(1.0, proxy.cut_server)
        noticing.start()
        build.add(one, study, build.candidate())
        noticing.join()
        assert len(one.rows(study)) == 1
    assert len(notes) >= 2
