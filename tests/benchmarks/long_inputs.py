"""Memory and time of one training step on ever longer texts: windowed against full attention.

    python tests/benchmarks/long_inputs.py
    python tests/benchmarks/long_inputs.py --kernel sdpa --lengths 1024 2048 4096

Three models of the same size: every layer windowed, the first layer global and the others windowed
(the native shape with fewest global layers), every layer global. Each model and length runs in a
process of its own. `peak` is how far the step lifts the process's highest memory, `kept` what
autograd saves for the backward pass. A growth column has the factor to the length before: about 2
is linear, about 4 quadratic. `--kernel sdpa` keeps no scores in global layers, which are then
linear in memory, but not in time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

from nas.families import architecture
from nas.families.modernbert.module import ModernBert
from nas.records import TaskSpec
from nas.training.loop import fresh_network

N_LAYER, D_MODEL, N_HEAD, D_FF = 4, 64, 4, 128
MODELS = ("windowed", "one global", "full")
WARM_UP = 64  # tokens of the step before: it loads torch's kernels


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    peak_mb: float
    kept_mb: float
    seconds: float


def build(model: str, length: int, window: int, kernel: str) -> ModernBert:
    spec = TaskSpec(
        task="text_classification",
        head="classify",
        vocab_size=1000,
        context=length,
        labels=("no", "yes"),
    )
    every = 1 if model == "full" else N_LAYER
    shape = {"n_layer": N_LAYER, "d_model": D_MODEL, "n_head": N_HEAD, "d_ff": D_FF}
    arch = architecture("modernbert", **shape, window=window, global_every=every)
    network = fresh_network(arch, spec, 0).train()
    if model == "windowed":  # no native shape is: there the first layer is always global
        network.model.layers[0].attn.window = window
    network.kernel = kernel
    return network


def step(network: ModernBert, length: int) -> int:
    """Run forward and backward on one text; return the bytes that were kept between them."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(1000, (1, length), generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = F.cross_entropy(network(ids), torch.zeros(1, dtype=torch.int64))
    loss.backward()
    return sum(kept.values())


def measure(model: str, length: int, window: int, kernel: str) -> Measured:
    """Measure in this process, which must be fresh: its highest memory never falls."""
    torch.set_num_threads(1)
    network = build(model, length, window, kernel)
    step(network, WARM_UP)
    before, start = highest_mb(), time.process_time()
    kept = step(network, length)
    seconds = time.process_time() - start
    return Measured(peak_mb=highest_mb() - before, kept_mb=kept / 1e6, seconds=seconds)


def highest_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def in_fresh_process(model: str, length: int, options: argparse.Namespace) -> Measured:
    arguments = ["--model", model, "--lengths", str(length)]
    arguments += ["--window", str(options.window), "--kernel", options.kernel]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return Measured(**json.loads(done.stdout))


def report(length: int, now: Mapping[str, Measured], past: Mapping[str, Measured] | None) -> None:
    for model, measured in now.items():
        line = f"{length:7}  {model:11}"
        for name, value in asdict(measured).items():
            growth = f"{value / getattr(past[model], name):7.2f}x" if past else " " * 8
            line += f"{value:12.2f}{growth}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--kernel", choices=["bmm", "sdpa"], default="bmm")
    parser.add_argument("--model", choices=MODELS, help="measure one model here, print JSON")
    options = parser.parse_args()
    if options.model:
        found = measure(options.model, options.lengths[0], options.window, options.kernel)
        print(json.dumps(asdict(found)))
        return
    print(
        f"{N_LAYER} layers of {D_MODEL}, window {options.window}, kernel {options.kernel}, batch 1"
    )
    print(f"{'length':>7}  {'model':11}{'peak MB':>12}{'':8}{'kept MB':>12}{'':8}{'CPU s':>12}")
    past = None
    for length in options.lengths:
        now = {model: in_fresh_process(model, length, options) for model in MODELS}
        report(length, now, past)
        past = now


if __name__ == "__main__":
    main()
