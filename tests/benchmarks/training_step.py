"""Time our training step beside a textbook loop and a lean GPT loop, in turns in one process.

    python tests/benchmarks/training_step.py --d-model 64
    python tests/benchmarks/training_step.py --d-model 128 --block 64 --batch 12 --repeats 60

`textbook` is what a course shows: `nn.TransformerEncoderLayer` with its defaults (post-norm,
dropout .1), learned positions, a Dataset and a DataLoader, AdamW, no clipping. `lean` is what a
good engineer writes: pre-norm GPT blocks with a fused query/key/value projection, torch's fused
attention, a tied output layer, crops of a memory-mapped array, fused AdamW, clipping. Both run in
float32. `ours` is `Training.step` of a real job, with the attention kernel that the probe chooses.

All have the same layers, width and heads and about as many parameters, read the same tokens and
take one optimizer step a measurement. Ratios are of CPU time: what others do on the machine
disturbs it least.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nas.data import DataRequest, PreparedData, Split
from nas.device import has_fast_bf16
from nas.families import architecture, cost_of
from nas.records import Architecture, Candidate, Job, Numerics, Recipe, TaskSpec
from nas.tasks.language_modeling import LanguageModeling
from nas.training.loop import Training
from nas.worker import probe

Step = Callable[[], object]


class Textbook(nn.Module):
    def __init__(
        self, options: argparse.Namespace, vocab_size: int, d_ff: int | None = None
    ) -> None:
        super().__init__()
        d_model = options.d_model
        d_ff = d_ff or 4 * d_model
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(options.block, d_model)
        layer = nn.TransformerEncoderLayer(d_model, options.heads, d_ff, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, options.layers)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.tokens(ids) + self.positions(torch.arange(length))
        return self.head(self.blocks(x, mask=mask, is_causal=True))


class Windows(Dataset):
    def __init__(self, tokens: np.ndarray, block: int) -> None:
        self.tokens, self.block = torch.from_numpy(tokens.astype(np.int64)), block

    def __len__(self) -> int:
        return len(self.tokens) - self.block

    def __getitem__(self, start: int) -> tuple[Tensor, Tensor]:
        window = self.tokens[start : start + self.block + 1]
        return window[:-1], window[1:]


def textbook(options: argparse.Namespace, data: PreparedData) -> tuple[Step, nn.Module]:
    model = Textbook(options, data.spec.vocab_size).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    windows = Windows(data.array("train.ids"), options.block)
    batches = iter(DataLoader(windows, batch_size=options.batch, shuffle=True))

    def step() -> None:
        ids, targets = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()

    return step, model


class LeanBlock(nn.Module):
    def __init__(self, d_model: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_head, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Lean(nn.Module):
    def __init__(self, options: argparse.Namespace, vocab_size: int) -> None:
        super().__init__()
        d_model = options.d_model
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = nn.Embedding(options.block, d_model)
        blocks = (LeanBlock(d_model, options.heads) for _ in range(options.layers))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


def lean(options: argparse.Namespace, data: PreparedData) -> tuple[Step, nn.Module]:
    model = Lean(options, data.spec.vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)
    tokens, generator = data.array("train.ids"), np.random.default_rng(0)
    offsets = np.arange(options.block + 1)

    def step() -> None:
        starts = generator.integers(len(tokens) - options.block, size=(options.batch, 1))
        crops = torch.from_numpy(tokens[starts + offsets].astype(np.int64))
        loss = F.cross_entropy(model(crops[:, :-1]).flatten(0, 1), crops[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, model


def ours(job: Job, precision: str) -> tuple[str, Step, nn.Module]:
    asked = Numerics(device="cpu", precision=precision, attention="sdpa", threads=1)
    numerics = probe(replace(job, numerics=asked))
    training = Training(replace(job, numerics=numerics))
    training.network.train()
    return f"ours {precision} {numerics.attention}", training.step, training.network


def similar(options: argparse.Namespace, params: int, spec: TaskSpec) -> Architecture:
    """Return the shape whose feed-forward makes its parameters come nearest to `params`."""
    shapes = [
        architecture(
            "llama",
            n_layer=options.layers,
            d_model=options.d_model,
            n_head=options.heads,
            d_ff=d_ff,
        )
        for d_ff in range(8, 4 * options.d_model, 8)
    ]

    def distance(arch: Architecture) -> float:
        return abs(cost_of(arch, spec, context=options.block, batch=1)["params"] - params)

    return min(shapes, key=distance)


def make_job(options: argparse.Namespace, data: PreparedData, params: int) -> Job:
    spec = data.spec
    recipe = Recipe(context=options.block, batch=options.batch, rate=1e-3)
    return Job(
        study="benchmark",
        candidate=Candidate(
            architecture=similar(options, params, spec),
            recipe=recipe,
            seed=0,
            data_fingerprint=data.info.fingerprint,
        ),
        task_spec=spec,
        data=str(data.folder),
        rungs=(recipe.tokens_per_step * 100_000,),
        rung=0,
        numerics=Numerics(device="cpu", precision="fp32", attention="sdpa", threads=1),
        eval_tokens=1024,
    )


def measure(steps: dict[str, Step], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Return each contender's seconds of wall and CPU time a step.

    A step follows another of its own, as in training: the first one of a turn, which finds the
    caches full of another model, is not timed.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(repeats + 3):
        for name, step in steps.items():
            step()
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if turn >= 3:  # the first turns warm up
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def report(times: dict[str, list[tuple[float, float]]], models: dict[str, nn.Module]) -> None:
    cpu = {name: statistics.median(cpu for _, cpu in values) for name, values in times.items()}
    print(
        f"{'':16}{'parameters':>11}{'wall ms':>9}{'CPU ms':>8}{'quartiles':>14}"
        f"{'x textbook':>12}{'x lean':>8}"
    )
    for name, values in times.items():
        low, _, high = statistics.quantiles((cpu * 1e3 for _, cpu in values), n=4)
        params = sum(weight.numel() for weight in models[name].parameters())
        wall = statistics.median(wall for wall, _ in values)
        print(
            f"{name:16}{params:11,}{wall * 1e3:9.1f}{cpu[name] * 1e3:8.1f}"
            f"{f'{low:.1f}-{high:.1f}':>14}"
            f"{cpu['textbook'] / cpu[name]:12.2f}{cpu['lean'] / cpu[name]:8.2f}"
        )


def compare(options: argparse.Namespace, folder: Path) -> None:
    split = Split(train=0.9, val=0.1, test=0.0)
    defaults = {name: option.default for name, option in LanguageModeling.options.items()}
    request = DataRequest.of(options.data, split=split, context=options.block, options=defaults)
    data = LanguageModeling.prepare(request, folder)
    contenders = {"textbook": textbook(options, data), "lean": lean(options, data)}
    params = sum(weight.numel() for weight in contenders["lean"][1].parameters())
    job = make_job(options, data, params)
    for precision in precisions(options.precision):
        name, *contender = ours(job, precision)
        contenders[name] = (contender[0], contender[1])
    times = measure({name: step for name, (step, _) in contenders.items()}, options.repeats)
    report(times, {name: model for name, (_, model) in contenders.items()})


def precisions(asked: str) -> list[str]:
    if asked == "auto":
        return ["fp32", "bf16"] if has_fast_bf16("cpu") else ["fp32"]
    return [asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--block", type=int, default=128, help="tokens an example")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=["fp32", "bf16", "auto"], default="auto")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--data", default="builtin:python-docs", help="a text, or a folder of it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        f"d_model {options.d_model}, {options.layers} layers, {options.heads} heads, "
        f"batch {options.batch} x {options.block} tokens, 1 thread, medians of {options.repeats}"
    )
    with tempfile.TemporaryDirectory() as place:
        compare(options, Path(place) / "data")


if __name__ == "__main__":
    main()
