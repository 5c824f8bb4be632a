"""Jobs on a real Ray cluster, whose nodes do not see the driver's files and are killed."""

import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from needs import need_module, need_success
from nodes import Nodes
from pids import named, wait_until
from small_jobs import job_maker

import nas
from nas.driver.events import CandidateEnded, CandidateStarted, Note
from nas.driver.ledger import is_whole
from nas.driver.recovery import RETRIES
from nas.errors import NasError
from nas.executors import make_executor, ray_crew
from nas.executors.planning import planned_slots
from nas.executors.ray_cluster import Cluster, needs
from nas.executors.ray_crew import Crew
from nas.records import Outcome, Progress
from nas.strategies import halving

pytestmark = [
    pytest.mark.slow,
    # Ray's own: sockets and files that its processes leave to Python, and what it has deprecated.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]
JOB_BYTES = 2**24


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    need_module("ray", 'pip install "transformer-nas[ray]"')
    need_module("grpc", 'pip install "transformer-nas[ray]"')
    need_success(["unshare", "--mount", "true"], "mounts need root or user namespaces")
    from ray._private import ray_constants

    # Else Ray takes another address of this machine for 127.0.0.1 (see `ray_cluster._loopback`).
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    with tempfile.TemporaryDirectory(prefix="nas-nodes-", dir="/tmp") as temporary:
        nodes = Nodes(tmp_path_factory.getbasetemp(), temporary)
        yield nodes
        nodes.close()
    monkeypatch.undo()


@pytest.fixture
def make_job(tmp_path):
    """Returns jobs on a small text, whose models are kept."""
    make = job_maker(tmp_path)
    (tmp_path / "checkpoints").mkdir()

    def make_job(seed=0, **changes):
        job = make(seed, keep_uncooled=True)
        return replace(job, model_dir=str(tmp_path / "models" / job.candidate.id), **changes)

    return make_job


@pytest.fixture
def start(nodes, monkeypatch):
    """Starts executors and closes them."""
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    started = []

    def start(name="ray", **changes):
        given = {"workers": None, "threads": 1, "device": "cpu", "job_bytes": JOB_BYTES}
        started.append(make_executor(name, **given | changes))
        return started[-1]

    yield start
    for executor in started:
        executor.close()


def until(executor, wanted, seconds=60.0):
    """Return what happened up to the first event that is wanted."""
    seen, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for event in executor.events(0.25):
            seen.append(event)
            if wanted(event):
                return seen
    raise AssertionError(f"not in {seconds} s; {seen}")


def done(executor, job, seconds=60.0):
    """Submit a job, once more if its worker is lost, as the driver does; return what happened.

    Where a node has just gone, Ray may still send the job there.
    """
    for _ in range(1 + RETRIES):
        executor.submit(job)
        *seen, outcome = until(executor, lambda e: isinstance(e, Outcome), seconds=seconds)
        assert outcome.candidate_id == job.candidate.id
        if not outcome.lost:
            break
    return seen, outcome


def outcome_of(executor, job, seconds=60.0):
    return done(executor, job, seconds)[1]


def measured(outcome):
    """What a job measured, to the last bit, without how long it took."""
    assert not outcome.error, outcome.traceback
    return [(e.rung, e.tokens, e.metrics, e.curve) for e in outcome.evaluations]


def endless(job):
    return replace(job, rungs=(10**9,), rung=0, model_dir=None, keep_uncooled=False)


def pid_of_worker():
    """The process of the only worker, once those before it are gone."""
    [pid] = wait_until(lambda: len(found := named("RayWorker")) == 1 and found, 20)
    return pid


def test_a_job_comes_back_as_from_a_process_and_its_files_are_here(
    nodes, start, make_job, tmp_path
):
    nodes.have(2)
    import ray

    executor, job = start(), make_job()
    here = [p.name for p in tmp_path.iterdir()]
    seen = ray.remote(num_cpus=0)(lambda: list(Path(tmp_path).glob("*")))
    assert here
    assert ray.get(seen.remote()) == [], "the nodes see the driver's files: nothing would be shown"
    outcome = outcome_of(executor, job)
    assert (outcome.state, outcome.model_saved) == ("complete", True)
    kept = outcome.checkpoint  # from before the cooldown
    assert Path(kept.uri) == tmp_path / "checkpoints" / f"{job.candidate.id}-uncooled.safetensors"
    assert is_whole(Path(kept.uri), kept)
    elsewhere = replace(
        job, model_dir=str(tmp_path / "other"), checkpoint_dir=str(tmp_path / "others")
    )
    processes = make_executor("processes", workers=1, threads=1, device="cpu", job_bytes=JOB_BYTES)
    try:
        other = outcome_of(processes, elsewhere)
    finally:
        processes.close()
    assert measured(outcome) == measured(other)
    model, twin = nas.load(job.model_dir, verify=True), nas.load(tmp_path / "other", verify=True)
    for name, weight in model.network.state_dict().items():
        assert weight.equal(twin.network.state_dict()[name])
    names = [
        [p.name for p in Path(folder).iterdir()] for folder in (job.model_dir, tmp_path / "other")
    ]
    assert sorted(names[0]) == sorted(names[1])
    executor.close()
    left = [p for p in Path(nodes.temporary).glob("nas-*/*") if p.is_dir()]
    assert left == [], "data and scratch folders are deleted"
    assert not list((tmp_path / "data").glob(".seen*"))


def test_a_cancelled_job_is_saved_here_and_goes_on_elsewhere(nodes, start, make_job):
    nodes.have(2)
    executor, job = start(), make_job(rungs=(1280, 64_000))
    whole = outcome_of(executor, job)
    executor.submit(job)
    until(executor, lambda e: isinstance(e, Progress) and e.tokens > 0)
    executor.cancel(job.candidate.id)
    stopped = until(executor, lambda e: isinstance(e, Outcome))[-1]
    assert stopped.state == "interrupted"
    assert 0 < stopped.tokens < 64_000
    assert is_whole(Path(stopped.checkpoint.uri), stopped.checkpoint)
    nodes.kill()
    reports, again = done(executor, replace(job, checkpoint=stopped.checkpoint))
    assert measured(again) == measured(whole)
    told = [e.tokens for e in reports if e.is_report]
    assert told == [tokens for tokens in told if tokens > stopped.tokens], "nothing was done twice"


def test_killed_and_dead_workers_give_up_their_slot_and_leave_no_process(nodes, start, make_job):
    nodes.have(2)
    executor = start(workers=1)
    one, two = endless(make_job()), endless(make_job(seed=1))
    executor.submit(one)
    until(executor, lambda e: isinstance(e, Progress))
    pid = pid_of_worker()
    assert executor.kill(one.candidate.id)
    assert not executor.kill(one.candidate.id)
    executor.submit(two)
    seen = until(executor, lambda e: isinstance(e, Progress))
    assert {e.candidate_id for e in seen} == {two.candidate.id}, "nothing of the killed one"
    other = pid_of_worker()
    assert other != pid
    os.kill(other, signal.SIGKILL)
    lost = until(executor, lambda e: isinstance(e, Outcome))[-1]
    assert (lost.candidate_id, lost.state, lost.lost) == (two.candidate.id, "failed", True)
    assert "the worker process died" in lost.error
    assert outcome_of(executor, make_job(seed=2)).state == "complete", "another is in its place"
    executor.close()
    wait_until(lambda: not named("RayWorker"), 10)


def test_a_search_outlives_the_node_of_a_promoted_job(nodes, configure, monkeypatch):
    """The promoted job goes on from its checkpoint on a node that came later."""
    nodes.have(1)
    monkeypatch.setattr(halving, "FIRST_FULL", 2)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    settings = {
        "per_candidate": {"tokens": 60_000, "rungs": [1024, 60_000], "eta": 2},
        "stop": {"candidates": 5},
        "finalists": {"top": 1, "seeds": 1},
        "workers": 1,
    }
    events, promoted = [], {}

    def watch(event):
        events.append(event)
        if isinstance(event, CandidateStarted) and event.tokens and event.role == "search":
            promoted.setdefault(event.candidate_id, event.tokens)
        on_its_way = isinstance(event, Progress) and event.tokens > 1024
        if on_its_way and event.candidate_id in promoted and len(nodes.alive) == 1 and not killed:
            nodes.kill()
            nodes.add()
            killed.append(event.candidate_id)

    killed = []
    study = nas.search(configure(executor="ray", **settings), listener=watch)
    [lost] = killed
    starts = [e for e in events if isinstance(e, CandidateStarted) and e.candidate_id == lost]
    again = starts[[e.tokens > 0 for e in starts].index(True) :]
    assert [e.tokens for e in again] == [1024, 1024], "it went on from its checkpoint, twice"
    assert any("once more, from 1,024 tokens" in e.text for e in events if isinstance(e, Note))
    ends = [e for e in events if isinstance(e, CandidateEnded) and e.outcome.candidate_id == lost]
    assert [e.outcome.state for e in ends] == ["paused", "complete"]
    assert study.record.state == "finished"
    quiet = nas.search(configure("quiet", executor="processes", **settings))

    def losses(study):
        rows = study.trials(all_rungs=True, role=None)
        return {(row.candidate_id, row.rung): row.metrics["val_loss"] for row in rows}

    assert losses(study) == losses(quiet)
    assert nas.load(study.best(), verify=True) is not None


def test_a_search_through_a_client_uses_a_node_that_joins(nodes, configure):
    nodes.have(1)
    slots = []

    def watch(event):
        if isinstance(event, CandidateEnded) and len(nodes.alive) == 1:
            nodes.add()
        running = {CandidateStarted: 1, CandidateEnded: -1}.get(type(event), 0)
        slots.append(running)

    config = configure(
        executor=nodes.client_address,
        per_candidate={"tokens": 100_000, "eta": 1},
        stop={"candidates": 6},
        finalists={"top": 0, "seeds": 1},
    )
    study = nas.search(config, listener=watch)
    at_once = [sum(slots[: i + 1]) for i in range(len(slots))]
    assert max(at_once) == 2, "the second node was made use of"
    assert [row.state for row in study.trials()] == ["complete"] * 6


def test_a_plan_counts_the_free_places_of_a_cluster_and_leaves_it(nodes, monkeypatch):
    import ray

    def planned(name):
        return planned_slots(name, workers=None, threads=1, device="cpu", job_bytes=JOB_BYTES)

    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    nodes.have(2)
    wait_until(lambda: planned("ray") == 2, seconds=30)
    nodes.have(1)
    wait_until(lambda: planned("ray") == 1, seconds=30)
    assert planned(nodes.client_address) == 1
    assert not ray.is_initialized()


def test_a_worker_whose_node_goes_while_it_is_placed_is_asked_for_again(nodes, monkeypatch):
    nodes.have(0)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    cluster = Cluster(None, cpus=None)
    crew = Crew(needs(threads=1, device="cpu", job_bytes=JOB_BYTES), most=1)
    try:
        import ray

        crew.listen(0.0)
        [placed] = crew._coming.values()
        ray.kill(placed)  # Ray says of it what it says when its node goes
        monkeypatch.setattr(ray_crew, "START_SECONDS", 4.0)
        told = r"could begin in 4 s: .*; the last node asked cannot begin a worker: .*never"
        with pytest.raises(NasError, match=told):
            crew.begin()
        monkeypatch.setattr(ray_crew, "START_SECONDS", 60.0)
        nodes.add()
        crew.listen(0.0)
        nodes.kill()  # while torch is imported there, or before
        nodes.add()
        crew.begin()
        assert len(crew.workers) == 1
    finally:
        crew.close()
        cluster.close()


def test_a_worker_that_cannot_begin_by_its_own_doing_is_told_at_once(nodes, start):
    nodes.have(1)
    folder = Path(nodes.temporary) / f"nas-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o755)
    begun = time.monotonic()
    try:
        with pytest.raises(NasError, match=r"a node .* cannot begin a worker: .*that only user"):
            start()
    finally:
        folder.chmod(0o700)
    assert time.monotonic() - begun < 60
