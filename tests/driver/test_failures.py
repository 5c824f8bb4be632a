"""A candidate can fail and a search cannot: failures inside this process."""

import math
import signal
from dataclasses import replace
from types import SimpleNamespace

import broken_tasks
import pytest
import yaml
from broken_tasks import BAD_D_FF, BRIEF, FEW, by_width, with_task

import nas
from nas.cli import main
from nas.driver import recovery, watch
from nas.driver.events import CandidateEnded, Note
from nas.driver.ledger import Ledger
from nas.driver.opening import open_for_search
from nas.driver.own import train_own
from nas.driver.proposing import MEMORY, Proposals
from nas.driver.recovery import Recovery, smaller_batch
from nas.driver.retrain import retrain
from nas.driver.watch import Watch
from nas.errors import NasError
from nas.executors import inline
from nas.families import architecture
from nas.records import (
    MICRO_BATCH,
    Candidate,
    Job,
    Numerics,
    Outcome,
    Progress,
    Recipe,
    TaskSpec,
    begun,
)
from nas.strategies import STRATEGIES, Observation


@pytest.fixture
def broken(configure):
    """Returns configs of a study whose task fails."""

    def broken(task, **changes):
        return with_task(configure(**BRIEF | changes), task)

    return broken


@pytest.mark.parametrize(
    ("task", "state", "error", "trace"),
    [
        ("Raises", "failed", "KeyError: 'no such word'", "broken_tasks.py"),
        ("Exits", "failed", "SystemExit: 3", "sys.exit(3)"),
        ("NotANumber", "diverged", "the training loss is nan after", ""),
    ],
)
def test_a_candidate_that_fails_is_recorded_and_the_search_goes_on(
    broken, task, state, error, trace
):
    good, bad = by_width(nas.search(broken(task)))
    assert {row.state for row in good} == {"complete"}
    for row in bad:
        assert row.state == state, row.traceback
        assert error in row.error
        assert trace in row.traceback


def test_memory_that_runs_out_is_answered_with_parts_of_a_batch(broken, configure, capsys):
    events = []
    study = nas.search(broken("Hungry", finalists={"top": 4, "seeds": 1}), listener=events.append)
    good, bad = by_width(study)
    assert {row.state for row in study.trials()} == {"complete"}
    assert {row.metrics[MICRO_BATCH] for row in bad} == {1.0}
    assert all(MICRO_BATCH not in row.metrics for row in good)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert sum("once more, in parts of 1 of 8 examples" in note for note in notes) == len(bad)
    ends = [e.outcome.candidate_id for e in events if isinstance(e, CandidateEnded)]
    assert len(ends) == len(set(ends)), "what is tried again has not ended"
    finals = [row for row in study.trials() if row.role != "search"]
    assert {row.metrics.get(MICRO_BATCH) for row in finals} == {None, 1.0}, "and at once in finals"
    whole = nas.search(configure("whole", **BRIEF))
    losses = {row.architecture_id: row.metrics["val_loss"] for row in whole.trials(role="search")}
    for row in bad:
        assert row.metrics["val_loss"] == pytest.approx(losses[row.architecture_id], abs=1e-5)
    assert main(["show", str(study.folder), bad[0].candidate_id]) == 0
    assert MICRO_BATCH in capsys.readouterr().out
    dropped = [row for row in bad if row.model_path is None][:1]
    for row in dropped:
        notes.clear()
        retrain(study, row.candidate_id, lambda e: isinstance(e, Note) and notes.append(e.text))
        assert notes == [], "the same loss to the last bit"


@pytest.mark.slow
def test_memory_that_runs_out_again_is_final_and_teaches_the_strategy(broken):
    space = {**FEW, "dimensions": {**FEW["dimensions"], "d_model": {"choices": [16, 24, 32, 40]}}}
    study = nas.search(broken("Starving", space=space, stop={"candidates": 8}))
    rows = sorted(study.trials(role="search"), key=lambda row: row.number)
    failed = [row for row in rows if row.state == "oom"]
    assert failed
    assert "with 1 of 8 examples at once too: " in failed[0].error
    assert "broken_tasks.py" in failed[0].traceback
    least = math.inf
    for row in rows:
        assert row.train_memory_bytes < least
        if row.state == "oom":
            least = row.train_memory_bytes
    assert sum(row.state == "complete" for row in rows) >= 1


@pytest.mark.slow
def test_training_beside_a_search_answers_too_little_memory_as_the_search_does(broken):
    few = {"stop": {"candidates": 1}, "finalists": {"top": 0, "seeds": 1}}
    wide = {"d_model": 24, "d_ff": BAD_D_FF}
    study, notes = nas.search(broken("Hungry", **few)), []
    result = train_own(study, wide, lambda e: isinstance(e, Note) and notes.append(e.text))
    [row] = result.group.rows
    assert (row.state, row.metrics[MICRO_BATCH]) == ("complete", 1.0)
    assert any("once more, in parts of 1 of 8 examples" in note for note in notes)
    study = nas.search(broken("Starving", **few), fresh=True)
    with pytest.raises(NasError, match=r"trained: oom: with 1 of 8 examples at once too: "):
        train_own(study, wide)
    assert [row.state for row in study.trials(role="own")] == ["oom"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_proposes_as_much_memory_as_there_was_none_for(configure, strategy):
    recipe = {"context": 16, "batch": 8, "rate": "search" if strategy == "evolution" else 0.01}
    opened = open_for_search(configure(strategy=strategy, recipe=recipe))
    ledger = Ledger(opened)
    try:
        proposals = Proposals(opened, ledger)
        points = list(opened.proposals.architectures())[::3]
        memory = [opened.proposals.columns(point)[MEMORY] for point in points]
        middle, least = sorted(memory)[len(memory) // 2], min(memory)
        history = [seen(opened, point, number) for number, point in enumerate(points)]
        free = proposals.propose(history, len(history))
        assert free is not None
        short = [failed(one) if one.columns[MEMORY] == middle else one for one in history]
        found = proposals.propose(short, len(short))
        assert found is not None
        assert opened.space.columns(found[0])[MEMORY] < middle
        nothing = [failed(one) if one.columns[MEMORY] == least else one for one in history]
        found = proposals.propose(nothing, len(nothing))
        assert found is None or opened.space.columns(found[0])[MEMORY] < least
    finally:
        ledger.close()
        opened.close()


def seen(opened, point, number):
    columns = opened.proposals.columns(point)
    return Observation(
        number=number,
        architecture_id=point.id,
        parameters=opened.proposals.space.encode(point),
        state="complete",
        values=(3.0 - columns["params"] / 1e5,),  # larger is better, so that all want to grow
        columns=columns,
    )


def failed(observation):
    return replace(observation, state="oom", values=None)


def test_a_hang_that_nothing_ends_is_recorded_and_the_same_command_goes_on_without_it(
    broken, monkeypatch
):
    monkeypatch.setattr(watch, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(inline, "STUCK_SECONDS", 0.1)
    limited = {**BRIEF["per_candidate"], "max_minutes": 0.05}
    config = broken("Hangs", per_candidate=limited)
    try:
        with pytest.raises(
            NasError, match=r"hangs, and executor 'inline' cannot end it.*processes"
        ):
            nas.search(config)
    finally:
        broken_tasks.RELEASE.set()
    [late] = nas.open_study("tiny").trials("state == 'timeout'")
    assert late.error == "not done in per_candidate.max_minutes 0.05"
    assert "RELEASE.wait()" in late.traceback
    good, bad = by_width(nas.search(broken("Hangs")))  # another limit is no other study
    assert sorted(row.state for row in good + bad) == ["complete"] * 3 + ["timeout"]


@pytest.mark.slow
def test_a_search_in_which_everything_fails_ends_early_each_time(configure, tmp_path, capsys):
    space = {
        "format_version": 1,
        "family": "llama",
        "fixed": {"n_layer": 1, "d_ff": BAD_D_FF},
        "dimensions": {
            "d_model": {"min": 8, "max": 80, "step": 4},
            "n_head": {"choices": [1, 2]},
        },
    }
    config = configure(**BRIEF | {"space": space, "stop": {}})
    with pytest.raises(NasError, match=r"8 of 8 candidates failed and none is complete.*KeyError"):
        nas.search(with_task(config, "Raises"))
    assert len(nas.open_study("tiny").trials()) == 8
    study = {**config.to_plain(), "recipe": {"context": 16, "batch": 8, "rate": 10.0}}
    study["per_candidate"] = {"tokens": 16_384, "eta": 1}
    del study["latency"], study["workers"], study["warm_start"]
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(study))
    for _ in range(2):
        assert main(["search", str(tmp_path / "bad.yaml"), "--quiet"]) == 1
        said = capsys.readouterr().err
        assert "8 of 8 candidates failed and none is complete; the last one diverged: the" in said
        assert "nas trials bad --state diverged" in said
        assert len(nas.open_study("bad").trials()) == 8


# The rules alone


def job(batch=12, **changes):
    recipe = Recipe(context=16, batch=batch, rate=0.01)
    return Job(
        study="s",
        candidate=Candidate(
            architecture=architecture("llama", n_layer=1, d_model=16, n_head=1, d_ff=32),
            recipe=recipe,
            seed=0,
            data_fingerprint="",
        ),
        task_spec=TaskSpec(task="t", head="causal_lm", vocab_size=257, context=16),
        data="",
        rungs=(1024,),
        rung=0,
        numerics=Numerics(device="cpu", precision="fp32", attention="bmm", threads=1),
        eval_tokens=1024,
        **changes,
    )


def outcome(state, **changes):
    return Outcome(candidate_id=job().candidate.id, state=state, tokens=0, **changes)


def test_a_batch_is_halved_to_a_quarter_of_the_memory_or_one_example():
    assert smaller_batch(job(batch=64)) == 8, "weights do not shrink with the batch"
    assert smaller_batch(job(batch=2)) == 1
    assert smaller_batch(job(batch=1)) is None


def test_a_candidate_whose_worker_dies_is_tried_again_a_few_times():
    rules = Recovery("s", [])
    lost = outcome("failed", error="it died", lost=True)
    for _ in range(recovery.RETRIES):
        assert rules.judge(job(), lost) == (lost, job())
    found, again = rules.judge(job(), lost)
    assert (found.error, again) == ("it died, 4 times under it", None)


def test_one_that_an_earlier_run_left_after_a_failure_has_fewer_tries():
    left = SimpleNamespace(candidate_id=job().candidate.id, error="it died")
    rules = Recovery("s", [left])
    lost = outcome("failed", error="it died", lost=True)
    tries = [rules.judge(job(), lost)[1] for _ in range(recovery.RETRIES)]
    assert tries == [job()] * (recovery.RETRIES - 1) + [None]


def test_workers_that_die_without_end_end_the_search():
    rules = Recovery("s", [])
    lost = outcome("failed", error="it died", lost=True)
    for _ in range(recovery.LOST_IN_A_ROW + 3):
        rules.judge(job(), lost)
        rules.check(slots=2)
    rules.judge(job(), lost)
    with pytest.raises(NasError, match=r"study 's': 12 workers died one after another.*it died"):
        rules.check(slots=2)
    rules.judge(job(), outcome("complete"))
    rules.check(slots=2)


class Clocked:
    """A clock, an executor that notes what it is told, and a pace."""

    def __init__(self, predicted):
        self.now, self.told, self.predicted = 0.0, [], predicted

    def watch(self, max_minutes=None):
        limits = SimpleNamespace(job_seconds=lambda job: self.predicted)
        return Watch(self, limits, max_minutes, clock=lambda: self.now)

    def cancel(self, candidate_id):
        self.told.append("cancel")

    def kill(self, candidate_id):
        self.told.append("kill")
        return True


def ended_at(clocked, watched, *, signs_every=None):
    """Let time pass until the job is killed; return when, and the outcome."""
    watched.begin(job())
    watched.hear(begun(job().candidate.id))
    for second in range(1, 10**5, 10):
        clocked.now = float(second)
        if signs_every and second % signs_every == 1:
            sign = Progress(candidate_id=job().candidate.id, tokens=1, train_loss=None, seconds=0)
            watched.hear(sign)
        for found, _ in watched.ended():
            return second, watched.end(found)
    return None


@pytest.mark.parametrize(
    ("predicted", "signs_every", "seconds"),
    [
        (None, None, 600),  # nothing is known of this machine
        (None, 100, None),  # it is slow, and nobody knows how slow it should be
        (20.0, 100, 600),  # ten times as long is less than ten minutes
        (200.0, 100, 2000),
        (200.0, None, 600),
        (900.0, None, 900),
    ],
)
def test_a_job_has_ten_times_as_long_as_it_should_take(predicted, signs_every, seconds):
    clocked = Clocked(predicted)
    found = ended_at(clocked, clocked.watch(), signs_every=signs_every)
    if seconds is None:
        assert found is None
        assert clocked.told == []
        return
    assert found[0] == pytest.approx(seconds, abs=40)
    assert found[1].state == "timeout"
    assert clocked.told == ["cancel", "kill"]


def test_the_limit_of_the_user_is_the_only_one():
    clocked = Clocked(1.0)
    second, found = ended_at(clocked, clocked.watch(max_minutes=60))
    assert second == pytest.approx(3600, abs=40)
    assert found.error == "not done in per_candidate.max_minutes 60"


def test_the_time_of_a_job_begins_when_a_worker_begins_with_it():
    clocked = Clocked(None)
    watched = clocked.watch(max_minutes=1)
    watched.begin(job())
    clocked.now = 590.0  # a worker starts, slowly
    assert list(watched.ended()) == []
    watched.hear(begun(job().candidate.id))
    clocked.now = 640.0
    assert list(watched.ended()) == []
    assert clocked.told == []
    clocked.now = 655.0
    assert list(watched.ended()) == []
    assert clocked.told == ["cancel"]
    watched.end(outcome("interrupted"))
    watched.begin(job())
    clocked.now += 601
    assert list(watched.ended()) == []
    assert watched.end(outcome("interrupted")).error == "no worker began with it in 601 s"


def test_one_that_comes_to_its_end_when_asked_to_stop_is_done():
    clocked = Clocked(None)
    watched = clocked.watch(max_minutes=1)
    for state, expected in (("complete", "complete"), ("interrupted", "timeout")):
        watched.begin(job())
        watched.hear(begun(job().candidate.id))
        clocked.now += 61
        assert list(watched.ended()) == []
        assert watched.end(outcome(state)).state == expected
    watched.begin(job())
    assert watched.end(outcome("interrupted")).state == "interrupted", "the user's own Ctrl-C"


@pytest.mark.slow
def test_what_was_interrupted_is_not_tried_again_at_once(broken):
    def interrupt(event):
        if isinstance(event, Note) and "once more" in event.text:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        nas.search(broken("Hungry"), listener=interrupt)
    [left] = nas.open_study("tiny").trials("state == 'interrupted'")
    study = nas.search(broken("Hungry"))
    assert {row.state for row in study.trials()} == {"complete"}
    assert left.candidate_id in {row.candidate_id for row in study.trials()}
