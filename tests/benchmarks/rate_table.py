"""The best base rate of every width and depth, under the rule that scales hidden matrices by width.

Trains decoders of each width and depth at base rates around the automatic one and prints the
validation losses, the mean over seeds, and which base rate is best. The rule holds as far as one
base rate is within a factor of 2 of all of them.

    python tests/benchmarks/rate_table.py [--tokens 400000] [--seeds 2] [--widths 32 64 128 256]
                                          [--jobs 1]
"""

import argparse
import itertools
import json
import math
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from nas.config.records import DEFAULT_SPLIT
from nas.data.request import DataRequest
from nas.families import architecture
from nas.records import Architecture, Candidate, Job, Numerics, Recipe, from_plain, to_plain
from nas.tasks import task_class
from nas.training.schedule import auto_rate
from nas.worker import probe, run_job

HEAD = 16  # numbers a head
FF = 3  # feed-forward size in widths


def shape(width: int, depth: int) -> Architecture:
    """Return a decoder of a width and a depth in the usual proportions."""
    return architecture(
        "llama", n_layer=depth, d_model=width, n_head=width // HEAD, d_ff=FF * width
    )


def make_job(args: argparse.Namespace, folder: Path) -> Job:
    """Prepare the data and return a job of the first shape, its arithmetic chosen."""
    request = DataRequest.of(
        args.data, split=DEFAULT_SPLIT, context=args.context, options=options()
    )
    prepared = task_class("language_modeling").prepare(request, folder)
    recipe = Recipe(
        context=args.context,
        batch=args.batch,
        rate=auto_rate("causal_lm", context=args.context, batch=args.batch),
        warmup_tokens=args.tokens // 50,
    )
    job = Job(
        study="rate_table",
        candidate=Candidate(
            architecture=shape(args.widths[0], args.depths[0]),
            recipe=recipe,
            seed=0,
            data_fingerprint=prepared.info.fingerprint,
        ),
        task_spec=prepared.spec,
        data=str(folder),
        rungs=(args.tokens // recipe.tokens_per_step * recipe.tokens_per_step,),
        rung=0,
        numerics=Numerics(device=args.device, precision="auto", attention="auto", threads=1),
        eval_tokens=65_536,
    )
    return replace(job, numerics=probe(job))


def options() -> dict[str, object]:
    """Return the task's options as a study file without any would have them."""
    return {key: one.default for key, one in task_class("language_modeling").options.items()}


def loss(plain: dict[str, object], width: int, depth: int, rate: float, seed: int) -> float:
    """Train as a job says and return the validation loss; infinity if it diverged."""
    job = from_plain(Job, plain)
    recipe = replace(job.candidate.recipe, rate=rate)
    candidate = replace(job.candidate, architecture=shape(width, depth), recipe=recipe, seed=seed)
    outcome = run_job(replace(job, candidate=candidate), lambda _: None, lambda: False)
    if outcome.state == "diverged":
        return math.inf
    assert outcome.state == "complete", outcome.error
    return outcome.evaluations[-1].metrics["val"]["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:python-docs")
    parser.add_argument("--tokens", type=int, default=400_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument(
        "--factors", type=float, nargs="+", default=[0.25, 0.354, 0.5, 0.707, 1, 1.414, 2, 2.83, 4]
    )
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="processes, a thread each")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(args, Path(folder) / "data")
        base = job.candidate.recipe.rate
        print(f"automatic rate {base:.2e}; {job.rungs[0]:,} tokens, {args.seeds} seeds; val loss")
        print("width depth" + "".join(f"{factor:>8.3g}x" for factor in args.factors) + "     best")
        shapes = list(itertools.product(args.widths, args.depths))
        trainings = list(itertools.product(shapes, args.factors, range(args.seeds)))
        jobs = [(to_plain(job), *size, base * factor, seed) for size, factor, seed in trainings]
        table, best = [], []
        spawning = multiprocessing.get_context("spawn")  # torch has threads by now
        with ProcessPoolExecutor(args.jobs, mp_context=spawning) as pool:
            losses = pool.map(loss, *zip(*jobs, strict=True))
            for width, depth in shapes:
                means = [fmean(itertools.islice(losses, args.seeds)) for _ in args.factors]
                best.append(args.factors[means.index(min(means))])
                table.append({"width": width, "depth": depth, "losses": means})
                cells = "".join(f"{value:9.4f}" for value in means)
                print(f"{width:5d} {depth:5d}{cells} {best[-1]:7.3g}x", flush=True)
    middle = math.sqrt(min(best) * max(best))
    print(
        f"best base rates are {min(best):.3g} to {max(best):.3g} times the automatic one: "
        f"within a factor {max(best) / middle:.2f} of {base * middle:.2e}"
    )
    if args.json:
        plain = {"rate": base, "factors": args.factors, "tokens": job.rungs[0], "table": table}
        args.json.write_text(json.dumps(plain))


if __name__ == "__main__":
    main()
