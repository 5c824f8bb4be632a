"""Latency is what a pass takes, and measuring it changes nothing."""

import time

import pytest
import torch
from family_cases import SPECS
from stand_ins import build

from nas.errors import DeviceError, InputError
from nas.families import FAMILIES, architecture, shape_class
from nas.measure import measure_latency, phases_of
from nas.records import Latency, LatencySpec

FIELDS = {"n_layer": 1, "d_model": 16, "n_head": 2, "d_ff": 16}


def make(family="llama"):
    extra = {"patch_size": 3} if family == "vit" else {}
    [head] = sorted(shape_class(family).heads)[:1]
    return build(architecture(family, **FIELDS, **extra), SPECS[head]).network, SPECS[head]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_each_phase_of_its_head(family):
    network, spec = make(family)
    for phase in phases_of(spec.head):
        how = LatencySpec(phase=phase, batch=2, context=spec.context)
        found = measure_latency(network, spec, how, repeats=3)
        assert 0 < found.low_ms <= found.median_ms <= found.high_ms
        assert found.repeats == 3


@pytest.mark.parametrize("phase", ["prefill", "decode", "throughput"])
def test_five_milliseconds_of_sleep_are_measured(monkeypatch, phase):
    network, spec = make()
    how = LatencySpec(phase=phase, context=spec.context)
    before = measure_latency(network, spec, how, repeats=15)
    for name in ("forward", "step"):
        whole = getattr(type(network), name)

        def slow(*arguments, whole=whole):
            time.sleep(0.005)
            return whole(*arguments)

        monkeypatch.setattr(type(network), name, slow)
    after = measure_latency(network, spec, how, repeats=15)
    assert after.median_ms >= before.median_ms + 5


def test_decoding_reads_one_token_after_a_full_cache(monkeypatch):
    network, spec = make()
    seen = []
    whole = type(network).step

    def step(self, ids, past):
        seen.append((tuple(ids.shape), past[0][0].shape[2] if past else 0))
        return whole(self, ids, past)

    monkeypatch.setattr(type(network), "step", step)
    measure_latency(network, spec, LatencySpec(phase="decode", batch=3, context=9), repeats=1)
    assert seen[0] == ((3, 8), 0)
    assert set(seen[1:]) == {((3, 1), 8)}
    seen.clear()
    measure_latency(network, spec, LatencySpec(phase="decode", context=1), repeats=1)
    assert set(seen) == {((1, 1), 0)}


def test_threads_mode_kernel_and_weights_are_put_back():
    network, spec = make()
    network.train()
    network.kernel = "bmm"
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    threads, seen = torch.get_num_threads(), []
    network.model.norm.register_forward_hook(
        lambda *_: seen.append(
            (torch.get_num_threads(), network.training, torch.is_grad_enabled(), network.kernel)
        )
    )
    measure_latency(network, spec, LatencySpec(context=8, threads=threads + 1), repeats=1)
    assert set(seen) == {(threads + 1, False, False, "sdpa")}
    assert (network.training, network.kernel, torch.get_num_threads()) == (True, "bmm", threads)
    assert all(torch.equal(weights[name], new) for name, new in network.state_dict().items())


def test_throughput_counts_tokens_where_a_model_writes_and_examples_elsewhere():
    for family, items in (("llama", 4 * 8), ("bert", 4), ("vit", 4), ("blenderbot", 4 * 8)):
        network, spec = make(family)
        how = LatencySpec(phase="throughput", batch=4, context=min(8, spec.context))
        found = measure_latency(network, spec, how, repeats=2)
        assert found.items == items
        assert found.metrics["throughput"] == pytest.approx(1e3 * items / found.median_ms)
    network, spec = make()
    how = LatencySpec(phase="decode", batch=4, context=8)
    assert measure_latency(network, spec, how, repeats=1).items == 4


def test_without_a_number_of_repeats_there_are_many():
    network, spec = make()
    begun = time.perf_counter()
    found = measure_latency(network, spec, LatencySpec(context=4))
    assert found.repeats >= 30
    assert time.perf_counter() - begun >= 0.2


def test_metrics_are_median_spread_and_rate():
    found = Latency(median_ms=2.0, low_ms=1.5, high_ms=3.0, repeats=9, items=10)
    assert found.metrics == {"latency_ms": 2.0, "latency_iqr_ms": 1.5, "throughput": 5000.0}


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"phase": "decoding"}, "phase: got 'decoding'.*did you mean 'decode'"),
        ("bert", {"phase": "decode"}, "classify models write no tokens and keep no cache"),
        ("vit", {"phase": "decode"}, "classify_image models write no tokens"),
        ("llama", {"context": 41}, "context: got 41, the model has positions for 40"),
        ("llama", {"batch": 0}, "batch: got 0"),
        ("llama", {"threads": 0}, "threads: got 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(family, changes, message):
    network, spec = make(family)
    with pytest.raises(InputError, match=message):
        measure_latency(network, spec, LatencySpec(**{"context": 1, **changes}))


def test_repeats_and_devices_that_cannot_be_are_refused():
    network, spec = make()
    with pytest.raises(InputError, match="repeats: got 0"):
        measure_latency(network, spec, LatencySpec(context=4), repeats=0)
    with pytest.raises(DeviceError, match="unknown device 'tpu'"):
        measure_latency(network, spec, LatencySpec(context=4, device="tpu"))
