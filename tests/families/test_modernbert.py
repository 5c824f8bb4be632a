"""Windowed attention: exact, local, and linear in the length."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from family_cases import SPECS, saved_bytes
from stand_ins import draw_matrices
from torch.utils.flop_counter import FlopCounterMode

from nas.artifact import Manifest
from nas.artifact.writing import write_model
from nas.families import architecture, cost_of, shape_class
from nas.families.modernbert.module import attend_window
from nas.families.modernbert.shape import local_scores
from nas.space.interval import Interval, highest, lowest
from nas.training.loop import fresh_network

SPEC = replace(SPECS["classify"], context=300)
LONG = architecture(
    "modernbert", n_layer=3, d_model=32, n_head=2, d_ff=48, window=16, global_every=3
)


def network_of(arch, spec=SPEC):
    network = fresh_network(arch, spec, 0).eval()
    draw_matrices(network, torch.Generator().manual_seed(0))
    return network


def ids_of(length, batch=2):
    generator = torch.Generator().manual_seed(length)
    return torch.randint(3, SPEC.vocab_size, (batch, length), generator=generator)


@pytest.mark.parametrize("length", [1, 5, 16, 47, 48, 96, 97, 200])
@pytest.mark.parametrize("window", [2, 16, 40, 64])
@pytest.mark.parametrize("padded", [False, True])
def test_blocks_are_plain_attention_under_a_band(length, window, padded):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, length, 8, generator=generator).requires_grad_()
    place = torch.arange(length)
    mask = torch.ones(2, length, dtype=torch.int64)
    if padded:
        mask[1, max(1, length // 2) :] = 0
    near = (place[:, None] - place).abs() <= window // 2
    seen = near & mask.bool()[:, None, None] | torch.eye(length).bool()
    plain = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    ours = attend_window(q, k, v, window, mask if padded else None)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    weights = torch.randn(ours.shape, generator=generator)
    for first, second in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((plain * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_a_token_beyond_the_half_window_changes_nothing():
    q, k, v = torch.randn(3, 1, 1, 200, 4, generator=torch.Generator().manual_seed(0))
    before = attend_window(q, k, v, 16, None)
    moved_k, moved_v = k.clone(), v.clone()
    moved_k[:, :, 100], moved_v[:, :, 100] = 3.0, 3.0
    after = attend_window(q, moved_k, moved_v, 16, None)
    changed = (before != after).any(-1).flatten().nonzero().flatten().tolist()
    assert changed == list(range(92, 109))


def test_long_folder_is_the_native_model(tmp_path):
    from transformers import AutoModelForSequenceClassification

    network = network_of(LONG)
    write_model(tmp_path / "m", network.state_dict(), Manifest(architecture=LONG, task_spec=SPEC))
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    ids = ids_of(300, batch=3)
    mask = (torch.arange(300) < torch.tensor([300, 123, 7])[:, None]).long()
    with torch.no_grad():
        theirs = stock(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(network(ids, mask), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("context", [48, 100, 300])
@pytest.mark.parametrize("window", [8, 32, 64])
@pytest.mark.parametrize("n_head", [1, 2])
def test_closed_form_cost_knows_the_blocks(context, window, n_head):
    arch = architecture("modernbert", **{**LONG.shape, "window": window, "n_head": n_head})
    spec = replace(SPEC, context=context)
    network = fresh_network(arch, spec, 0).train()
    network.kernel = "bmm"
    promised = cost_of(arch, spec, context=context, batch=4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(ids_of(context, batch=1), None)
    assert promised["flops_per_token"] * context == counter.get_total_flops()
    state = 16 * promised["params"]
    measured = saved_bytes(network, [ids_of(context, batch=4), None], spec)
    assert promised["train_memory_bytes"] - state == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("context", [1, 40, 100, 512])
def test_cost_of_an_interval_contains_every_shape_in_it(context):
    fields = {**LONG.shape, "d_model": 64, "n_head": Interval(1, 4), "window": Interval(8, 96)}
    fields |= {"n_layer": Interval(1, 5), "global_every": Interval(1, 6)}
    spec = replace(SPEC, context=context)
    kind = shape_class("modernbert")
    bounds = kind.cost(fields, spec, context=context, batch=2)
    for window, n_layer, every, n_head in product([8, 34, 96], [1, 5], [1, 3, 6], [1, 4]):
        one = {"window": window, "n_layer": n_layer, "global_every": every, "n_head": n_head}
        for name, value in kind.cost(fields | one, spec, context=context, batch=2).items():
            assert lowest(bounds[name]) <= value <= highest(bounds[name]), (name, one)


def test_scores_of_a_local_layer_grow_with_the_length():
    counts = [local_scores(64, 512 * 2**doubling) for doubling in range(5)]
    assert [later / first for first, later in pairwise(counts)] == [2.0] * 4
