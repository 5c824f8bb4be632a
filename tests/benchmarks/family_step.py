"""Time each family's training step beside the stock transformers class of the same shape.

    python tests/benchmarks/family_step.py
    python tests/benchmarks/family_step.py bert vit --repeats 30

`stock` is a plain loop: the class that transformers has for the shape, from our own
`native_config`, in float32 with its default attention, its own loss, clipping, AdamW, over shuffled
batches that are padded to their longest text. `ours` is `Training.step` of a real job in bf16 where
the processor has instructions for it, and once more held to float32; texts of similar length make
a batch. Both read as many examples of the same task a step, one thread, in turns; ratios are of
CPU time, and over so many steps that both have read texts of all lengths. Needs transformers.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from nas.data import DataRequest, PreparedData, Split
from nas.device import has_fast_bf16
from nas.families import architecture, shape_of
from nas.records import Candidate, Job, Numerics, Recipe
from nas.space import load_space
from nas.tasks import task_class
from nas.tasks.batches import Order
from nas.tasks.image_classification import image_inputs
from nas.training.loop import Training
from nas.worker import probe

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What a family is timed on: its space's reference shape, a task and a batch."""

    space: str
    task: str
    data: str
    context: int
    batch: int
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "llama": Case("llama_small", "language_modeling", "builtin:python-docs", 128, 16),
    "gpt2": Case("gpt2_small", "language_modeling", "builtin:python-docs", 128, 16),
    "bert": Case("bert_small", "text_classification", "builtin:docstrings", 64, 32),
    "modernbert": Case("modernbert_small", "text_classification", "builtin:docstrings", 64, 32),
    "blenderbot": Case(
        "blenderbot_small", "sequence_to_sequence", "builtin:function-names", 32, 32
    ),
    "vit": Case(
        "vit_small", "image_classification", "builtin:digits", 1, 32, {"image_size": 28}
    ),
}  # fmt: skip


def make_job(case: Case, folder: Path) -> Job:
    kind = task_class(case.task)
    options = {name: option.default for name, option in kind.options.items()} | case.options
    split = Split(train=0.8, val=0.1, test=0.1)
    request = DataRequest.of(case.data, split=split, context=case.context, options=options)
    data: PreparedData = kind.prepare(request, folder)
    recipe = Recipe(context=case.context, batch=case.batch, rate=1e-3)
    space = load_space(case.space).to_plain()
    return Job(
        study="benchmark",
        candidate=Candidate(
            architecture=architecture(space["family"], **space["reference"]),
            recipe=recipe,
            seed=0,
            data_fingerprint=data.info.fingerprint,
        ),
        task_spec=data.spec,
        data=str(data.folder),
        rungs=(recipe.tokens_per_step * 100_000,),
        rung=0,
        numerics=Numerics(device="cpu", precision="fp32", attention="sdpa", threads=1),
        eval_tokens=1024,
    )


def ours(job: Job, precision: str) -> tuple[str, Step]:
    asked = replace(job.numerics, precision=precision)
    numerics = probe(replace(job, numerics=asked))
    training = Training(replace(job, numerics=numerics))
    training.network.train()
    return f"ours {precision}", training.step


def stock(job: Job) -> tuple[Step, int]:
    """Return the step of a plain loop, and how many parameters it trains."""
    spec = job.task_spec
    config = shape_of(job.candidate.architecture).native_config(spec)
    assert config is not None, "a reference shape has equal layers"
    native = transformers.AutoConfig.for_model(**config)
    model: nn.Module = getattr(transformers, config["architectures"][0])(native).train()
    recipe = job.candidate.recipe
    task: Any = task_class(spec.task)(PreparedData.open(job.data), recipe, 0)
    if hasattr(task, "_order"):  # without regard to lengths
        task._order = Order(task._order._count, recipe.batch, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    number = 0

    def step() -> None:
        nonlocal number
        loss = model(**inputs(spec.head, task.batch(number), model)).loss
        number += 1
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, sum(weight.numel() for weight in model.parameters())


def inputs(head: str, batch: Any, model: nn.Module) -> dict[str, Tensor]:
    """Return a task's batch as the stock class takes it, labels included."""
    if head == "causal_lm":
        ids = torch.from_numpy(batch[:, :-1].copy())
        return {"input_ids": ids, "labels": ids}
    if head == "classify_image":
        return {
            "pixel_values": image_inputs(batch.pixels_BHWC, model),
            "labels": torch.from_numpy(batch.labels_B),
        }
    found = [torch.from_numpy(array) for array in batch]
    names = ("input_ids", "attention_mask", "labels")
    if head == "seq2seq":
        names = ("input_ids", "attention_mask", "decoder_input_ids", "labels")
    return dict(zip(names, found, strict=True))


def measure(steps: dict[str, Step], repeats: int) -> dict[str, tuple[float, float]]:
    """Return mean seconds of CPU and wall time of a step; the first of each turn is not timed."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in range(repeats + 3):
        for name, step in steps.items():
            step()
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if turn >= 3:
                times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: (statistics.fmean(c for c, _ in found), statistics.fmean(w for _, w in found))
        for name, found in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=list(CASES), metavar="FAMILY")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for family in options.families:
        with tempfile.TemporaryDirectory() as folder:
            job = make_job(CASES[family], Path(folder) / "data")
            plain, params = stock(job)
            steps = {"stock": plain, **dict([ours(job, "fp32")])}
            if has_fast_bf16("cpu"):
                steps |= dict([ours(job, "bf16")])
            times = measure(steps, options.repeats)
        base = times["stock"][0]
        text = ", ".join(
            f"{name} {cpu * 1e3:.1f} ms CPU {wall * 1e3:.1f} wall ({base / cpu:.2f}x)"
            for name, (cpu, wall) in times.items()
        )
        print(f"{family:11}{params:>10,} parameters: {text}", flush=True)


if __name__ == "__main__":
    main()
