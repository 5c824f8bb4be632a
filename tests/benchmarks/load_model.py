"""Time `nas.load` of a model folder against transformers' `from_pretrained` of the same folder.

    python tests/benchmarks/load_model.py --params 100e6 --repeats 9

Both run in this process, imports done and the file in the page cache, taking turns. Weights are
mapped by both, so that their pages are read when first used: the second pair of columns includes
a forward pass over 16 tokens, which touches every weight.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nas.artifact import Manifest
from nas.artifact.writing import write_model
from nas.families import architecture, cost_of
from nas.model import build, load_folder
from nas.records import Architecture, TaskSpec

SPEC = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=16_000, context=512)


def near(params: float) -> Architecture:
    """Return a llama of 12 layers whose number of parameters is nearest to `params`."""
    shapes = [
        architecture("llama", n_layer=12, d_model=64 * heads, n_head=heads, d_ff=192 * heads)
        for heads in range(1, 33)
    ]
    return min(shapes, key=lambda arch: abs(params_of(arch) - params))


def params_of(arch: Architecture) -> float:
    return cost_of(arch, SPEC, context=1, batch=1)["params"]


def measure(load: Callable[[], torch.nn.Module]) -> tuple[float, float, float]:
    """Return seconds of wall time, CPU time, and wall time with a forward pass."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    model = load()
    loaded, used = time.perf_counter() - wall, time.process_time() - cpu
    with torch.no_grad():
        model(torch.arange(16)[None])
    return loaded, used, time.perf_counter() - wall


def compare(folder: Path, repeats: int) -> dict[str, list[tuple[float, float, float]]]:
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    ways: dict[str, Callable[[], torch.nn.Module]] = {
        "from_pretrained": lambda: AutoModelForCausalLM.from_pretrained(folder),
        "nas.load": lambda: load_folder(folder, device="cpu"),
    }
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, load in ways.items():
            measured = measure(load)
            if turn:  # the first turn warms up
                times[name].append(measured)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=float, default=100e6)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    arch = near(options.params)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write_model(
            folder, build(arch, SPEC).state_dict(), Manifest(architecture=arch, task_spec=SPEC)
        )
        times = compare(folder, options.repeats)
    report(params_of(arch), times)


def report(params: float, times: dict[str, list[tuple[float, float, float]]]) -> None:
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    ratios = [ours / stock for stock, ours in zip(*medians.values(), strict=True)]
    print(f"{params / 1e6:.0f}M parameters, medians of {len(times['nas.load'])}, milliseconds")
    print(f"{'':16}{'wall':>10}{'CPU':>10}{'wall + forward':>18}")
    for name, (wall, cpu, forward) in medians.items():
        print(f"{name:16}{wall * 1e3:10.1f}{cpu * 1e3:10.1f}{forward * 1e3:18.1f}")
    print(f"{'ratio':16}{ratios[0]:10.2f}{ratios[1]:10.2f}{ratios[2]:18.2f}")


if __name__ == "__main__":
    main()
