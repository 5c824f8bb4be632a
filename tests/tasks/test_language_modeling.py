"""Language modelling: which tokens a step and a measurement read, and what they are worth."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from task_cases import request_for
from torch import nn

from nas.data import Split
from nas.records import Recipe
from nas.tasks.language_modeling import EVAL_BATCH_TOKENS, LanguageModeling, eval_windows

RECIPE = Recipe(context=16, batch=6, rate=0.01)
SPLIT = Split(train=0.5, val=0.4, test=0.1)
# Numbered, so that every window of the text occurs once.
TEXT = "".join(f"{number:05d}" for number in range(3000))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    (folder / "text.txt").write_text(TEXT)
    request = request_for("language_modeling", str(folder / "text.txt"), split=SPLIT)
    return LanguageModeling.prepare(request, folder / "data")


class Bigram(nn.Module):
    """Logits of the next token from the last one alone."""

    def __init__(self, vocab_size):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(vocab_size, vocab_size, generator=generator)
        self.table = nn.Parameter(table, requires_grad=False)

    def forward(self, ids_BT):
        return self.table[ids_BT]


def starts_in(tokens, batch):
    """Return where each window of a batch stands in the tokens."""
    windows = np.lib.stride_tricks.sliding_window_view(tokens, batch.shape[1])
    place = {window.tobytes(): start for start, window in enumerate(windows)}
    return [place[window.astype(tokens.dtype).tobytes()] for window in batch]


def test_batch_is_a_function_of_seed_and_step_alone(prepared):
    forwards, backwards = (LanguageModeling(prepared, RECIPE, seed=3) for _ in range(2))
    steps = range(200)  # more than an epoch
    expected = {step: forwards.batch(step) for step in steps}
    for step in reversed(steps):
        np.testing.assert_array_equal(backwards.batch(step), expected[step])
    assert expected[0].shape == (RECIPE.batch, RECIPE.context + 1)


def test_batch_of_another_seed_or_step_differs(prepared):
    first, second = (LanguageModeling(prepared, RECIPE, seed=seed) for seed in (0, 1))
    assert (first.batch(0) != second.batch(0)).any()
    assert (first.batch(0) != first.batch(1)).any()


def test_windows_of_an_epoch_cover_the_data_without_overlap(prepared):
    tokens, context = prepared.array("train.ids"), RECIPE.context
    count = (len(tokens) - 1) // context - 1
    task = LanguageModeling(prepared, replace(RECIPE, batch=count), seed=0)
    epochs = [sorted(starts_in(tokens, task.batch(step))) for step in range(3)]
    for starts in epochs:
        assert set(np.diff(starts)) == {context}
        assert 0 <= starts[0] <= starts[-1] + context < len(tokens)
    assert len({starts[0] for starts in epochs}) > 1  # each epoch cuts elsewhere


def test_loss_predicts_each_next_token(prepared):
    task, network = LanguageModeling(prepared, RECIPE, seed=0), Bigram(prepared.spec.vocab_size)
    batch = torch.from_numpy(task.batch(0))
    expected = F.cross_entropy(network.table[batch[:, :-1]].flatten(0, 1), batch[:, 1:].flatten())
    torch.testing.assert_close(task.loss(network, batch.numpy()), expected)


@pytest.mark.parametrize(("length", "context"), [(17, 16), (1000, 16), (1009, 7), (9, 8)])
def test_eval_windows_predict_every_token_once(length, context):
    starts, size = eval_windows(length, context, max_tokens=10**9)
    predicted = (starts[:, None] + 1 + np.arange(size)).flatten()
    np.testing.assert_array_equal(predicted, np.arange(1, len(predicted) + 1))
    assert length - context <= len(predicted) < length


@pytest.mark.parametrize("max_tokens", [1, 160, 5000, 8000])
def test_eval_windows_under_a_cap_spread_evenly(max_tokens):
    context, length = 16, 16_001
    starts, _ = eval_windows(length, context, max_tokens)
    count = (length - 1) // context
    assert len(starts) == max(1, max_tokens // context)
    assert set(starts % context) == {0}
    gaps = np.diff([*starts // context, count])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_evaluate_is_the_mean_over_all_predicted_tokens(prepared):
    tokens = torch.from_numpy(prepared.array("val.ids").astype(np.int64))
    assert len(tokens) % EVAL_BATCH_TOKENS  # the last batch is a part
    task, network = LanguageModeling(prepared, RECIPE, seed=0), Bigram(prepared.spec.vocab_size)
    last = (len(tokens) - 1) // RECIPE.context * RECIPE.context
    expected = F.cross_entropy(network.table[tokens[:last]], tokens[1 : last + 1])
    measured = task.evaluate(network, "val", max_tokens=10**9)
    assert measured["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert measured == task.evaluate(network, "val", max_tokens=10**9)


def test_bits_per_byte_counts_bytes_of_text_not_tokens(tmp_path):
    text = tmp_path / "texts"
    text.mkdir()
    for number in range(50):
        (text / f"{number:02d}.txt").write_text("seven by")  # 8 bytes and an end: 9 tokens
    split = Split(train=0.5, val=0.5, test=0)
    request = request_for("language_modeling", str(text), split=split, context=8)
    prepared = LanguageModeling.prepare(request, tmp_path / "data")
    network = Bigram(prepared.spec.vocab_size)
    network.table.zero_()  # all tokens alike
    task = LanguageModeling(prepared, Recipe(context=8, batch=2, rate=0.01), seed=0)
    measured = task.evaluate(network, "val", max_tokens=10**9)
    assert measured["loss"] == pytest.approx(math.log(257), rel=1e-6)
    assert measured["bits_per_byte"] == pytest.approx(math.log2(257) * 9 / 8, rel=1e-6)


def test_training_smooths_its_targets_and_measuring_does_not(prepared):
    network = Bigram(prepared.spec.vocab_size)
    smooth = LanguageModeling(prepared, replace(RECIPE, label_smoothing=0.2), seed=0)
    plain = LanguageModeling(prepared, RECIPE, seed=0)
    ids = torch.from_numpy(plain.batch(0))
    wanted = F.cross_entropy(
        network(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=0.2
    )
    assert smooth.loss(network, smooth.batch(0)) == pytest.approx(float(wanted))
    values = [task.evaluate(network, "val", max_tokens=500) for task in (smooth, plain)]
    assert values[0] == values[1]
