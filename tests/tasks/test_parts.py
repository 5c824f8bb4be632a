"""A batch trained on in parts is the batch trained on at once, but for rounding."""

from dataclasses import replace

import pytest
import torch
from task_cases import CASES

from nas.records import Candidate, Job, Numerics
from nas.tasks import TASKS, task_class
from nas.tasks.batches import in_parts
from nas.training.loop import Training

NUMERICS = Numerics(device="cpu", precision="fp32", attention="bmm", threads=1)
STEPS = 6
NOISE = 1e-5  # a gradient as small as this is mostly rounding, which AdamW blows up


def training(name, prepared, micro_batch, **recipe):
    case = CASES[name]
    candidate = Candidate(
        architecture=case.shape,
        recipe=case.recipe(warmup_tokens=0, rate=0.005, **recipe),
        seed=0,
        data_fingerprint=prepared.info.fingerprint,
    )
    job = Job(
        study="s",
        candidate=candidate,
        task_spec=prepared.spec,
        data=str(prepared.folder),
        rungs=(10**6,),
        rung=0,
        numerics=NUMERICS,
        eval_tokens=1024,
        micro_batch=micro_batch,
    )
    return Training(job)


def losses(trained):
    """Train some steps; return the loss of each."""
    found = []
    for _ in range(STEPS):
        before = float(trained._loss_sum)
        trained.step()
        found.append(float(trained._loss_sum) - before)
    return found


SPECIAL = {"label_smoothing": 0.1, "class_weights": "balanced", "token_dropout": 0.2}


@pytest.mark.parametrize("name", TASKS)
def test_parts_of_a_batch_train_as_the_whole(name, prepared_for):
    obeyed = {k: v for k, v in SPECIAL.items() if k in task_class(name).recipe_fields}
    whole, parts = (training(name, prepared_for(name), n, **obeyed) for n in (None, 5))
    assert losses(parts) == pytest.approx(losses(whole), abs=2e-6)
    for one, other in zip(whole.optimizer.groups, parts.optimizer.groups, strict=True):
        known = whole.optimizer.moments()[f"exp_avg_sq.{one['name']}"].sqrt() > NOISE
        assert known.float().mean() > 0.1
        gap = (one["params"][0] - other["params"][0]).detach().abs()
        assert gap[known].max() < 1e-5
        assert gap[known].median() < 1e-6


@pytest.mark.parametrize("name", TASKS)
def test_parts_hold_every_example_once_and_their_shares_are_of_what_counts(name, prepared_for):
    trained = training(name, prepared_for(name), 5)
    task, batch = trained.task, trained.task.batch(0)
    parts = in_parts(task, batch, 5)
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert sum(task.weight(part) for part, _ in parts) == pytest.approx(task.weight(batch))
    assert [type(part) for part, _ in parts] == [type(batch)] * 4
    rows = [part[0] if isinstance(part, tuple) else part for part, _ in parts]
    assert [len(one) for one in rows] == [5, 5, 5, 1]
    with torch.no_grad():
        whole = trained.task.loss(trained.network, batch)
        summed = sum(task.loss(trained.network, part) * share for part, share in parts)
    assert float(summed) == pytest.approx(float(whole), abs=1e-6)


def test_uneven_parts_are_uneven_in_padding_and_targets(prepared_for):
    trained = training("sequence_to_sequence", prepared_for("sequence_to_sequence"), 5)
    batches = [trained.task.batch(step) for step in range(STEPS)]
    shares = {share for batch in batches for _, share in in_parts(trained.task, batch, 4)}
    assert len(shares) > 1, "else this file would not see a mean of means"


def test_a_task_that_does_not_say_what_counts_is_not_divided(prepared_for):
    class Silent:
        pass

    with pytest.raises(MemoryError, match="task Silent has no method 'weight'"):
        in_parts(Silent(), [1, 2], 1)


def test_a_resumed_training_in_parts_goes_on_bit_for_bit(prepared_for, tmp_path):
    name = "text_classification"
    first = training(name, prepared_for(name), 5)
    losses(first)
    kept = first.save(tmp_path)
    resumed = Training(replace(first.job, checkpoint=kept))
    assert losses(resumed) == losses(first)
