"""Training on a CPU by hand-written backward passes is torch's own arithmetic, only faster."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from nas.families import (
    architecture,
    cost_of,
    cpu_attention,
    cpu_feed_forward,
    module_class,
    shape_of,
)
from nas.families.cpu_training import norm_project
from nas.families.cross_entropy import mean_cross_entropy
from nas.families.llama import shape as llama_shape
from nas.families.ops import attend, rms_norm, rotary_angles, split_heads, swiglu
from nas.records import IGNORED, TaskSpec

EPS, THETA = 1e-6, 10_000.0


def draw(*sizes: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*sizes, generator=generator) * scale).requires_grad_()


def assert_same_function(ours, plain, inputs: list[torch.Tensor], *, close: float = 2e-5) -> None:
    """Outputs and gradients agree to `close`, relative to their size."""
    grad = torch.randn(plain(*inputs).shape, generator=torch.Generator().manual_seed(9))
    results = []
    for function in (ours, plain):
        out = function(*inputs)
        results.append([out.detach(), *torch.autograd.grad((out * grad).sum(), inputs)])
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= close * b.norm().clamp(min=1e-6)


def plain_attention(x, norm, qkv, out, n_head, keep=None, kernel="sdpa"):
    width = out.shape[1] // n_head
    heads = F.linear(rms_norm(x, norm, EPS), qkv).unflatten(-1, (-1, width))
    q, k, v = split_heads(heads, n_head, rotary_angles(x.shape[1], width, THETA))
    mixed = attend(q, k, v, causal=True, kernel=kernel).transpose(1, 2).flatten(2)
    update = F.linear(mixed, out)
    return x + (update if keep is None else update * keep)


def attention_inputs(batch: int, length: int, n_head: int, n_kv_head: int) -> list[torch.Tensor]:
    width, d_model = 8, 20
    x = draw(batch, length, d_model, scale=3.0)
    qkv = draw((n_head + 2 * n_kv_head) * width, d_model, seed=1, scale=0.5)
    return [x, draw(d_model, seed=2), qkv, draw(d_model, n_head * width, seed=3, scale=0.3)]


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 150])
@pytest.mark.parametrize(("n_head", "n_kv_head"), [(2, 2), (4, 2), (3, 1)])
def test_attention_and_its_gradients_are_torch_s(length, n_head, n_kv_head):
    assert_same_function(
        lambda *x: cpu_attention.add_attention(*x, n_head, THETA, EPS),
        lambda *x: plain_attention(*x, n_head),
        attention_inputs(3, length, n_head, n_kv_head),
    )


@pytest.mark.parametrize("scores", [1, 2**13])
def test_attention_is_the_same_in_pieces_of_any_size(monkeypatch, scores):
    monkeypatch.setattr(cpu_attention, "_scores_at_once", lambda: scores)
    assert_same_function(
        lambda *x: cpu_attention.add_attention(*x, 4, THETA, EPS),
        lambda *x: plain_attention(*x, 4, kernel="bmm"),
        attention_inputs(3, 100, 4, 2),
    )


def feed_forward_inputs() -> list[torch.Tensor]:
    return [draw(3, 7, 12), draw(12, seed=1), draw(2 * 10, 12, seed=2), draw(12, 10, seed=3)]


@pytest.mark.parametrize("positions", [None, 1536, 10, 1])
def test_feed_forward_and_its_gradients_are_torch_s(monkeypatch, positions):
    monkeypatch.setattr(cpu_feed_forward, "FEW_POSITIONS", 1000 if positions is None else 0)
    monkeypatch.setattr(cpu_feed_forward, "_part_size", lambda *_: positions)
    assert_same_function(
        lambda x, norm, up, down: cpu_feed_forward.add_feed_forward(x, norm, up, down, EPS),
        lambda x, norm, up, down: x + F.linear(swiglu(F.linear(rms_norm(x, norm, EPS), up)), down),
        feed_forward_inputs(),
    )


@pytest.mark.parametrize("positions", [None, 1536, 10])
def test_dropout_factors_reach_updates_only(monkeypatch, positions):
    monkeypatch.setattr(cpu_feed_forward, "FEW_POSITIONS", 1000 if positions is None else 0)
    monkeypatch.setattr(cpu_feed_forward, "_part_size", lambda *_: positions)
    inputs = feed_forward_inputs()
    keep = F.dropout(torch.ones_like(inputs[0]), 0.5)
    assert_same_function(
        lambda x, norm, up, down: cpu_feed_forward.add_feed_forward(x, norm, up, down, EPS, keep),
        lambda x, norm, up, down: (
            x + keep * F.linear(swiglu(F.linear(rms_norm(x, norm, EPS), up)), down)
        ),
        inputs,
    )
    inputs = attention_inputs(2, 5, 2, 1)
    keep = F.dropout(torch.ones_like(inputs[0]), 0.5)
    assert_same_function(
        lambda *x: cpu_attention.add_attention(*x, 2, THETA, EPS, keep),
        lambda *x: plain_attention(*x, 2, keep=keep),
        inputs,
    )


def test_projection_of_a_norm_and_its_gradients_are_torch_s():
    assert_same_function(
        lambda x, norm, weight: norm_project(x, norm, weight, EPS),
        lambda x, norm, weight: F.linear(rms_norm(x, norm, EPS), weight),
        [draw(3, 7, 12), draw(12, seed=1), draw(9, 12, seed=2)],
    )


def test_a_vector_of_zeros_has_finite_gradients():
    x = torch.zeros(1, 2, 4, requires_grad=True)
    norm_project(x, torch.ones(4), torch.eye(4), EPS).sum().backward()
    assert torch.isfinite(x.grad).all()


def network_and_ids(context: int = 100, batch: int = 3, **fields):
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=context)
    arch = architecture("llama", **{"n_layer": 2, "d_model": 32, "n_head": 4, "d_ff": 48} | fields)
    network = module_class("llama")(shape_of(arch), spec).train()
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)
    ids = torch.randint(0, 257, (batch, context + 1), generator=generator)
    return arch, spec, network, ids


def loss_and_gradient(network, ids, precision=torch.float32):
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        logits = network(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
    loss.backward()
    return loss.detach(), torch.cat([weight.grad.flatten() for weight in network.parameters()])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_same_step_twice_is_bit_equal(dropout):
    _, _, network, ids = network_and_ids()
    network.kernel, network.dropout = "bmm", dropout
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        results.append(loss_and_gradient(network, ids))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("kernel", ["bmm", "sdpa"])
def test_bfloat16_is_close_to_float32(kernel):
    _, _, network, ids = network_and_ids(n_kv_head=2)
    network.kernel = kernel
    loss, gradient = loss_and_gradient(network, ids)
    low_loss, low_gradient = loss_and_gradient(network, ids, torch.bfloat16)
    assert low_gradient.dtype == torch.float32
    assert low_loss == pytest.approx(float(loss), rel=1e-2)
    assert (low_gradient - gradient).norm() < 0.05 * gradient.norm()


def test_without_gradients_no_function_of_our_own_runs(monkeypatch):
    _, _, network, ids = network_and_ids()
    network.kernel = "bmm"
    for name in ("add_attention", "add_feed_forward", "norm_project"):
        monkeypatch.setattr(f"nas.families.llama.module.{name}", None)
    with torch.no_grad():
        network(ids)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        network(ids)


def saved_bytes(network, ids) -> int:
    """Memory that a training step holds for its backward pass, weights apart."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    storages = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    assert loss.requires_grad  # the graph, and with it every storage, is still alive here
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize(
    ("context", "batch", "fields"),
    [
        (16, 1, {}),
        (64, 12, {"d_model": 64, "d_ff": 176}),
        (128, 4, {"d_model": 64, "d_ff": 176, "n_head": 8}),
        (100, 4, {"n_head": 6, "n_kv_head": 2, "head_dim": 16}),
        (300, 2, {"n_kv_head": [1, 4], "d_ff": [24, 400]}),
        (512, 1, {"d_model": 64, "d_ff": 176, "tied": False}),
        (128, 12, {"d_model": 64, "d_ff": [176, 96]}),
    ],
)
def test_training_memory_is_within_15_percent_of_what_is_saved(context, batch, fields):
    arch, spec, network, ids = network_and_ids(context, batch, **fields)
    network.kernel = "bmm"
    state = 16 * sum(weight.numel() for weight in network.parameters())
    closed = cost_of(arch, spec, context=context, batch=batch)["train_memory_bytes"]
    assert closed == pytest.approx(state + saved_bytes(network, ids), rel=0.15)
    assert closed - state == pytest.approx(saved_bytes(network, ids), rel=0.15)


def test_the_closed_form_knows_what_is_worked_on_at_once():
    assert cpu_feed_forward.FEW_POSITIONS == llama_shape.FEW_POSITIONS
    assert cpu_attention.QUERY_BLOCKS[4] == llama_shape.QUERY_BLOCK
    for count, length in itertools.product((1, 5, 300), (1, 64, 65, 200)):
        pieces = list(cpu_attention._pieces(torch.empty(count, length, 1)))
        assert sum((h.stop - h.start) * (q.stop - q.start) for h, q, _ in pieces) == count * length
        assert all(k.start == 0 and k.stop == q.stop for _, q, k in pieces)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_cross_entropy_and_its_gradient_are_torch_s(smoothing, dtype):
    logits = draw(9, 7, scale=4.0).to(dtype)
    targets = torch.tensor([0, 6, IGNORED, 3, 3, 1, IGNORED, 2, 5])
    assert_same_function(
        lambda x: mean_cross_entropy(x, targets, smoothing),
        lambda x: F.cross_entropy(x.float(), targets, label_smoothing=smoothing),
        [logits.detach().requires_grad_()],
        close=2e-5 if dtype == torch.float32 else 4e-3,
    )


def test_cross_entropy_of_an_impossible_target_is_finite_and_pushes_it_up():
    logits = torch.tensor([[500.0, 0.0]], requires_grad=True)
    loss = mean_cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert 87 < loss < 88
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0]]))
