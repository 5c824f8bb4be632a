"""Latency: how long one pass of a network takes on a device.

Phases: `prefill` is the forward pass of `batch` examples of `context` tokens (of an
encoder-decoder: as many in source and target; of images: `batch` of them). `decode` is the step
that writes the `context`-th token from the cached keys and values of those before it, for families
that write. `throughput` is the same pass as `prefill`, meant for a large batch.

What is timed is the network as `nas.load` gives it: eval mode, no gradients, fp32, kernel `sdpa`.
Wall time counts, so that whatever a pass waits for is in it. Only passes during which the system
gave the CPU to other work are left out, where it says so (Linux) and others are enough.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nas.device import resolve_device, synchronize
from nas.errors import InputError, nearest
from nas.records import PHASES, WRITING_HEADS, Latency, LatencySpec, TaskSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

# Untimed passes first: caches, memory pools and, on a GPU, kernels settle within the first few.
WARM_UPS = 10
WARM_UP_SECONDS = 1.0  # no more of them after this long, but for two
# Timed passes: at least so many and so long (a disturbance of some milliseconds must not reach the
# quartiles of a pass of 0.1 ms). After the most seconds, a few undisturbed ones or any will do.
REPEATS = 30
LEAST_SECONDS = 0.2
MOST_SECONDS = 2.0
FEWEST = 5

DEFAULT_BATCH = {"prefill": 1, "decode": 1, "throughput": 32}

Pass = Callable[[], object]


def measure_latency(
    network: nn.Module, task_spec: TaskSpec, how: LatencySpec, *, repeats: int | None = None
) -> Latency:
    """Time passes of a network, on inputs drawn from a fixed seed.

    Threads, mode and kernel are put back afterwards; a network on another device is copied.

    Args:
        network: A family's module (of a loaded model: `model.network`).
        task_spec: What it takes in.
        how: Phase, batch, context, device and CPU threads.
        repeats: Timed passes; None: at least 30 and 0.2 s of them, of slow ones as many as two
            seconds hold, at least 5.

    Returns:
        Median and quartiles in milliseconds, each pass until the device has done it.

    Raises:
        InputError: If the phase is unknown or none of this head, or a number is out of range.
        DeviceError: If the device is not here.
    """
    import torch

    check_spec(how, task_spec)
    if repeats is not None and repeats < 1:
        raise InputError(f"repeats: got {repeats}, expected an integer >= 1")
    device = torch.device(resolve_device(how.device))
    if next(network.parameters()).device != device:
        network = copy.deepcopy(network).to(device)
    with _as_loaded(network, how.threads), torch.no_grad():
        one_pass = _pass(network, task_spec, how, device)
        times = _times(one_pass, device, how.threads, repeats)
    low, median, high = _quartiles(times)
    writes = task_spec.head in WRITING_HEADS
    each = how.context if writes and how.phase != "decode" else 1
    return Latency(
        median_ms=median,
        low_ms=low,
        high_ms=high,
        repeats=len(times),
        items=how.batch * each,
    )


def check_spec(how: LatencySpec, task_spec: TaskSpec) -> None:
    """Raise an InputError where a model of the task has nothing of the kind to time."""
    if how.phase not in PHASES:
        known = ", ".join(PHASES)
        raise InputError(f"phase: got '{how.phase}', expected {known}{nearest(how.phase, PHASES)}")
    if problem := why_not(how.phase, task_spec.head):
        raise InputError(f"phase: {problem}")
    for name in ("batch", "context", "threads"):
        if getattr(how, name) < 1:
            raise InputError(f"{name}: got {getattr(how, name)}, expected an integer >= 1")
    if how.context > task_spec.context:
        raise InputError(
            f"context: got {how.context}, the model has positions for {task_spec.context}"
        )


def why_not(phase: str, head: str) -> str:
    """Return in words why models with a head have no such phase; empty if they have."""
    if phase != "decode" or head in WRITING_HEADS:
        return ""
    return f"got 'decode', but {head} models write no tokens and keep no cache; choose prefill"


def phases_of(head: str) -> list[str]:
    """Return the phases that models with a head have."""
    return [phase for phase in PHASES if not why_not(phase, head)]


@contextmanager
def _as_loaded(network: nn.Module, threads: int) -> Iterator[None]:
    """Set eval mode, the usual kernel and the CPU threads, and put back what was."""
    import torch

    training, kernel, before = network.training, network.kernel, torch.get_num_threads()
    network.eval()
    network.kernel = "sdpa"  # type: ignore[assignment]  # a plain attribute of every family's module
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        network.kernel = kernel
        network.train(training)


def _pass(network: Any, spec: TaskSpec, how: LatencySpec, device: torch.device) -> Pass:
    """Return the pass to time; what comes before it is done here."""
    inputs = _inputs(spec, how, device)
    if how.phase != "decode":
        return lambda: network(*inputs)
    ids_BT = inputs[-1]
    last_B1, before_BT = ids_BT[:, -1:], ids_BT[:, :-1]
    given = () if spec.head == "causal_lm" else (network.encode(inputs[0], None), None)
    past = network.step(before_BT, *given, None)[1] if how.context > 1 else None
    return lambda: network.step(last_B1, *given, past)


def _inputs(spec: TaskSpec, how: LatencySpec, device: torch.device) -> list[Any]:
    """Return what the head takes (see `records.HEADS`), without padding."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if spec.head == "classify_image":
        size = (how.batch, spec.n_channel, spec.image_size, spec.image_size)
        return [torch.randn(size, generator=generator).to(device)]
    shape = (how.batch, how.context)
    ids_BT = torch.randint(spec.vocab_size, shape, generator=generator).to(device)
    more: dict[str, list[Any]] = {"classify": [None], "seq2seq": [None, ids_BT]}
    return [ids_BT, *more.get(spec.head, [])]


def _times(one_pass: Pass, device: torch.device, threads: int, repeats: int | None) -> list[float]:
    """Return milliseconds of timed passes, undisturbed ones as far as there are enough."""
    _warm_up(one_pass, device)
    wanted, fewest = repeats or REPEATS, min(repeats or FEWEST, FEWEST)
    every: list[float] = []
    quiet: list[float] = []
    start, seconds = time.perf_counter(), 0.0
    while len(quiet) < wanted or (repeats is None and seconds < LEAST_SECONDS):
        if seconds > MOST_SECONDS and len(every) >= (repeats or FEWEST):
            break
        switches, begun = _preempted(threads), time.perf_counter()
        one_pass()
        synchronize(device)
        every.append(1e3 * (time.perf_counter() - begun))
        if _preempted(threads) == switches:
            quiet.append(every[-1])
        seconds = time.perf_counter() - start
    return quiet if len(quiet) >= fewest else every[-wanted:]


def _preempted(threads: int) -> int:
    """Return how often the system took the CPU from this work so far; always 0 if it cannot say."""
    if sys.platform != "linux":
        return 0
    import resource

    who = resource.RUSAGE_THREAD if threads == 1 else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_nivcsw


def _warm_up(one_pass: Pass, device: torch.device) -> None:
    start = time.perf_counter()
    for turn in range(WARM_UPS):
        if turn >= 2 and time.perf_counter() - start > WARM_UP_SECONDS:
            return
        one_pass()
        synchronize(device)


def _quartiles(times: list[float]) -> tuple[float, float, float]:
    if len(times) == 1:
        return times[0], times[0], times[0]
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, median, high
