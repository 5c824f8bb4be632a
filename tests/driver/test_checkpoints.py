"""A checkpoint that is damaged costs time, and never the candidate."""

from dataclasses import replace
from pathlib import Path

import pytest

from nas.driver.opening import open_for_search
from nas.records import CheckpointRef
from nas.training.loop import Training
from nas.worker import run_job

DAMAGES = {
    "a byte changed": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
    "missing": None,
}


@pytest.fixture
def paused(configure):
    """Returns a job that goes on from a rung, and what it gives."""
    from nas.driver.jobs import Jobs
    from nas.driver.ledger import Ledger

    config = configure(per_candidate={"tokens": 2048, "rungs": [1024, 2048], "eta": 1})
    opened = open_for_search(config)
    opened = replace(
        opened, record=replace(opened.record, numerics=_numerics(opened.config.device))
    )
    ledger = Ledger(opened)
    jobs = Jobs(opened, ledger)

    def paused(seed):
        candidate = jobs.candidate(opened.space.space.reference, opened.recipe, seed)
        _, job = jobs.begin(candidate, seed, "search", 0)
        outcome = run_job(job, lambda _: None, lambda: False)
        assert outcome.state == "paused"
        return replace(job, rung=1, checkpoint=outcome.checkpoint)

    yield paused
    ledger.close()
    opened.close()


def _numerics(device):
    from nas.records import Numerics

    return Numerics(device=device, precision="fp32", attention="bmm", threads=1)


def measured(outcome):
    return [(one.rung, one.metrics) for one in outcome.evaluations]


@pytest.mark.parametrize("damage", DAMAGES)
def test_training_begins_anew_and_says_why(paused, damage):
    job = paused(0)
    whole = run_job(replace(job, model_dir=None), lambda _: None, lambda: False)
    assert (whole.state, whole.note) == ("complete", "")
    path = Path(job.checkpoint.uri)
    if DAMAGES[damage] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    outcome = run_job(replace(job, model_dir=None), lambda _: None, lambda: False)
    assert (outcome.state, outcome.error) == ("complete", "")
    assert outcome.note.startswith(f"{path}: checkpoint ")
    assert outcome.note.endswith("training begins anew")
    assert measured(outcome) == measured(whole)


def test_another_candidates_checkpoint_is_not_gone_on_from(paused):
    one, other = paused(0), paused(1)
    outcome = run_job(replace(one, checkpoint=other.checkpoint), lambda _: None, lambda: False)
    assert outcome.state == "complete"
    assert "is the checkpoint of another candidate; training begins anew" in outcome.note


def test_checkpoint_of_another_shape_is_not_gone_on_from(paused):
    """Whole by its hash and the candidate's by its name: what is in it does not fit."""
    from nas.families import architecture

    job = paused(0)
    wider = architecture("llama", n_layer=1, d_model=32, n_head=2, d_ff=32)
    candidate = replace(job.candidate, architecture=wider)
    training = Training(replace(job, candidate=candidate, checkpoint=None))
    from nas.training import checkpoint

    reference = checkpoint.save_checkpoint(
        Path(job.checkpoint.uri),
        candidate_id=job.candidate.origin,
        tokens=0,
        state=training.state,
        loss_sum=training._loss_sum,
        best={},
        network=training.network,
        optimizer=training.optimizer,
    )
    assert isinstance(reference, CheckpointRef)
    outcome = run_job(replace(job, checkpoint=reference), lambda _: None, lambda: False)
    assert outcome.state == "complete"
    assert "not a checkpoint of this version" in outcome.note
