"""Choose the arithmetic once, and run by it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product

import torch
from torch import nn

from nas.device import has_fast_bf16, resolve_device, synchronize
from nas.families.ops import KERNELS
from nas.records import Numerics

# The expected choice stands unless another one is clearly faster: timing noise must not decide, or
# the same study would come out otherwise on the same machine.
CLEARLY = 0.75
PROBE_SECONDS = 1.0


def choose_numerics(
    device: str, precision: str, threads: int, step: Callable[[Numerics], Callable[[], None]]
) -> Numerics:
    """Time a training step in each kind of arithmetic and return the fastest.

    Args:
        device: A device name or `auto`.
        precision: fp32, bf16, or auto: bf16 is tried where the device has instructions for it.
        threads: CPU threads of one worker.
        step: Given numerics, returns a function that runs one training step by them.

    Raises:
        DeviceError: If the device is not here.
    """
    options = _options(device, precision, threads)
    seconds = _step_seconds([(option, step(option)) for option in options])
    best = min(options, key=lambda option: seconds[option])
    return best if seconds[best] < CLEARLY * seconds[options[0]] else options[0]


def expected_numerics(device: str, precision: str, threads: int) -> Numerics:
    """Return what `choose_numerics` chooses unless another one is clearly faster; no step is run.

    Raises:
        DeviceError: If the device is not here.
    """
    return _options(device, precision, threads)[0]


def _options(device: str, precision: str, threads: int) -> list[Numerics]:
    """Return the kinds of arithmetic that there are, the expected one first."""
    device = resolve_device(device)
    precisions = [precision] if precision != "auto" else ["fp32"]
    if precision == "auto" and has_fast_bf16(device):
        precisions.append("bf16")
    options = [
        Numerics(device=device, precision=p, attention=kernel, threads=threads)
        for p, kernel in product(precisions, KERNELS)
    ]
    if not device.startswith("cpu"):
        options = [option for option in options if option.attention == "sdpa"]
    return options


def _step_seconds(options: list[tuple[Numerics, Callable[[], None]]]) -> dict[Numerics, float]:
    """Return each option's median seconds a step; options take turns against drift."""
    times: dict[Numerics, list[float]] = {option: [] for option, _ in options}
    end = time.perf_counter() + PROBE_SECONDS
    for turn in range(40):
        for option, run in options:
            clock = _clock(option)
            with arithmetic(option):
                begun = clock()
                run()
                synchronize(torch.device(option.device))
            if turn:  # the first turn warms up
                times[option].append(clock() - begun)
        if turn >= 3 and time.perf_counter() > end:
            break
    return {option: statistics.median(values) for option, values in times.items()}


def _clock(numerics: Numerics) -> Callable[[], float]:
    """Return a clock that other processes of a busy machine move least."""
    alone = numerics.device == "cpu" and numerics.threads == 1
    return time.process_time if alone else time.perf_counter


@contextmanager
def arithmetic(numerics: Numerics) -> Iterator[None]:
    """Set threads and float32 precision for the duration, and put them back after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(numerics.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def autocast(numerics: Numerics) -> AbstractContextManager[object]:
    """Return the context in which a network's forward pass runs."""
    if numerics.precision == "fp32":
        return nullcontext()
    return torch.autocast(numerics.device.partition(":")[0], dtype=torch.bfloat16)


def place(network: nn.Module, numerics: Numerics, dropout: float) -> nn.Module:
    """Move a network to its device and tell it kernel and dropout."""
    network.kernel, network.dropout = numerics.attention, dropout  # type: ignore[assignment]  # plain attributes of every family's module
    return network.to(numerics.device)
