import copy
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_jobs import RECIPE, job_maker

from nas.errors import ArtifactError, DeviceError
from nas.tasks.language_modeling import LanguageModeling
from nas.training import schedule
from nas.training.loop import DivergedError, InterruptedTrainingError, Training
from nas.training.numerics import choose_numerics
from nas.training.schedule import auto_rate, rate_factor, rung_eval_tokens, width_factor


@pytest.fixture
def make_job(tmp_path):
    """Returns jobs on a small text."""
    return job_maker(tmp_path)


def run(job, stop_at=None):
    """Train a job; return its evaluations, or the reference of a checkpoint at a step."""
    training = Training(job)
    try:
        evaluations = training.run(lambda progress: None, lambda: training.state.step == stop_at)
    except InterruptedTrainingError:
        return training.save(Path(job.checkpoint_dir))
    return [(e.rung, e.tokens, e.metrics, e.curve) for e in evaluations]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("stop_at", [7, 20, 93])
def test_interrupted_in_any_step_gives_bit_equal_losses(make_job, stop_at, dropout):
    job = make_job(recipe=replace(RECIPE, dropout=dropout))
    reference = run(job, stop_at=stop_at)
    assert reference.tokens == stop_at * 64
    assert run(replace(job, checkpoint=reference)) == run(job)


def test_pausing_at_a_rung_changes_nothing(make_job, tmp_path):
    training = Training(make_job(rung=0))
    training.run(lambda progress: None, lambda: False)
    reference = training.save(tmp_path)
    assert run(make_job(checkpoint=reference)) == run(make_job())


def test_each_rung_is_told_as_soon_as_it_is_measured(make_job):
    told = []
    evaluations = Training(make_job()).run(told.append, lambda: False)
    first, last = (one.metrics["val"]["loss"] for one in evaluations)
    assert all(one.val_loss is None for one in told if one.tokens < 1280)
    assert (1280, first) in [(one.tokens, one.val_loss) for one in told]
    assert (told[-1].tokens, told[-1].val_loss) == (6400, last)


def test_only_the_last_rung_reads_all_that_the_job_allows(make_job, monkeypatch):
    read = []
    evaluate = LanguageModeling.evaluate

    def counting(self, network, split, *, max_tokens):
        read.append(max_tokens)
        return evaluate(self, network, split, max_tokens=max_tokens)

    monkeypatch.setattr(LanguageModeling, "evaluate", counting)
    monkeypatch.setattr(schedule, "MIN_RUNG_EVAL_TOKENS", 128)
    run(make_job())
    assert read == [160, 1024]


def test_a_rung_reads_an_eighth_of_what_was_trained_on_within_limits():
    assert rung_eval_tokens(1_000, most=65_536) == 16_384
    assert rung_eval_tokens(200_000, most=65_536) == 25_000
    assert rung_eval_tokens(1_000_000, most=65_536) == 65_536
    assert rung_eval_tokens(1_000_000, most=1024) == 1024


def test_a_loss_that_rises_far_above_its_beginning_ends_the_training(make_job):
    job = make_job(recipe=replace(RECIPE, rate=20.0, clip=1e9, warmup_tokens=640))
    with pytest.raises(DivergedError, match="the training loss has risen from"):
        run(job)


def test_another_seed_gives_another_loss(make_job):
    assert run(make_job()) != run(make_job(seed=1))


def test_a_damaged_or_foreign_checkpoint_is_refused(make_job):
    job = make_job()
    reference = run(job, stop_at=5)
    with pytest.raises(ArtifactError, match="checkpoint of another candidate"):
        Training(replace(make_job(seed=1), checkpoint=reference))
    with Path(reference.uri).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ArtifactError, match=r"damaged \(100 bytes of \d+\)"):
        Training(replace(job, checkpoint=reference))


def test_rate_warms_up_holds_and_cools_down():
    def factor(tokens):
        return rate_factor(tokens, RECIPE, 6400)

    assert factor(0) == pytest.approx(0.2)
    assert factor(320) == factor(4736) == 1
    assert factor(5600) == pytest.approx(0.5**0.5 * -1 + 1)
    assert factor(6336) < 0.05


def test_before_the_cooldown_the_rate_knows_nothing_of_the_budget():
    early = [rate_factor(tokens, RECIPE, 6400) for tokens in range(0, 4800, 64)]
    assert early == [rate_factor(tokens, RECIPE, 64_000) for tokens in range(0, 4800, 64)]


def test_matrices_learn_slower_where_the_model_is_wider(make_job):
    assert [width_factor(width) for width in (16, 24, 48, 96)] == [1, 1, 0.5, 0.25]
    rate = auto_rate("causal_lm", context=64, batch=8)
    assert auto_rate("causal_lm", context=64, batch=32) == 2 * rate
    assert auto_rate("causal_lm", context=256, batch=8) == 2 * rate
    rate = auto_rate("classify", context=64, batch=8)
    assert auto_rate("classify", context=64, batch=32) == 2 * rate
    assert auto_rate("classify", context=256, batch=8) == rate


def test_only_matrices_decay(make_job):
    training = Training(make_job())
    numbers = {0.0: 0, RECIPE.weight_decay: 0}
    for weight in training.network.parameters():
        numbers[RECIPE.weight_decay if weight.ndim > 1 else 0.0] += weight.numel()
    for group in training.optimizer.groups:
        numbers[group["weight_decay"]] -= sum(vector.numel() for vector in group["params"])
    assert set(numbers.values()) == {0}


def test_a_step_is_torch_s_own_of_each_weight_apart(make_job):
    training = Training(make_job())
    network = copy.deepcopy(training.network)
    task, recipe = training.task, RECIPE
    hidden = {id(weight) for weight in network.hidden_matrices()}
    groups = [
        {
            "params": [weight],
            "weight_decay": recipe.weight_decay if weight.ndim > 1 else 0.0,
            "lr": recipe.rate * (width_factor(16) if id(weight) in hidden else 1.0) / 5,
        }
        for weight in network.parameters()
    ]
    optimizer = torch.optim.AdamW(groups, betas=(recipe.beta1, recipe.beta2))
    optimizer.zero_grad()
    task.loss(network, task.batch(0)).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
    optimizer.step()
    training.step()
    for ours, plain in zip(training.network.parameters(), network.parameters(), strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)


def test_the_expected_arithmetic_stands_unless_another_is_clearly_faster():
    def spend(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    def steps(seconds):
        return lambda numerics: lambda: spend(seconds[numerics.attention])

    def chosen(**seconds):
        return choose_numerics("cpu", "fp32", 1, steps(seconds)).attention

    expected = chosen(sdpa=0.002, bmm=0.002)
    other = {"sdpa": "bmm", "bmm": "sdpa"}[expected]
    assert chosen(**{expected: 0.004, other: 0.0038}) == expected
    assert chosen(**{expected: 0.008, other: 0.002}) == other


def test_a_device_that_is_not_here_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="'cuda' is not here: torch sees 0 CUDA devices"):
        choose_numerics("cuda", "auto", 1, lambda numerics: lambda: None)
