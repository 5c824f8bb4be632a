"""Loss against measured latency: what strategies find in equal time, as hypervolume.

Each strategy searches the same space for the same minutes, in turns, without finals. All fronts are
then measured from one reference point: the worst of both objectives among the first ten candidates
of all searches, and a tenth beyond. Every shape's latency is first set to the mean of what was
measured of it anywhere, so that no search wins by a lucky timing.

    python tests/benchmarks/pareto.py [--minutes 2] [--seeds 3] [--strategies auto nsga2 random]
"""

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from dataclasses import replace

import nas
from nas.config import config_from_plain
from nas.store.hypervolume import front_summary, reference_point
from nas.store.rows import CandidateRow

OBJECTIVES = ("val_loss", "latency_ms")
Rows = dict[tuple[str, int], list[CandidateRow]]  # by strategy and seed


def search(strategy: str, seed: int, args: argparse.Namespace) -> list[CandidateRow]:
    """Search in a study of its own and return the complete candidates, in order of proposal."""
    plain = {
        "format_version": 1,
        "space": args.space,
        "task": {"name": "language_modeling", "data": args.data},
        "objectives": list(OBJECTIVES),
        "latency": {"phase": args.phase},
        "per_candidate": {"tokens": args.tokens},
        "finalists": {"top": 0, "seeds": 1},
        "stop": {"candidates": None, "minutes": args.minutes},
        "strategy": strategy,
        "executor": "processes",
        "workers": args.workers,
        "device": "cpu",
        "keep": 1,
        "seed": seed,
    }
    study = nas.search(config_from_plain(plain, where="benchmark", name=f"{strategy}-{seed}"))
    return study.trials("state == 'complete'", sort="number")


def with_mean_latency(found: Rows) -> Rows:
    """Return the rows with each shape's latency as the mean of all its measurements."""
    times = defaultdict(list)
    for row in (row for rows in found.values() for row in rows):
        times[row.architecture_id].append(row.metrics["latency_ms"])

    def evened(row: CandidateRow) -> CandidateRow:
        mean = statistics.fmean(times[row.architecture_id])
        return replace(row, metrics={**row.metrics, "latency_ms": mean})

    return {key: [evened(row) for row in rows] for key, rows in found.items()}


def show(found: Rows, args: argparse.Namespace) -> None:
    first = [reference_point(rows, OBJECTIVES) for rows in found.values()]
    point = [max(values) for values in zip(*first, strict=True)]
    print(f"reference point {point[0]:.4g} nats, {point[1]:.4g} ms; volumes in nats x ms")
    for strategy in args.strategies:
        volumes, counts, fronts = [], [], []
        for seed in range(args.seeds):
            rows = found[strategy, seed]
            summary = front_summary(rows, OBJECTIVES, point)
            volumes.append(summary["hypervolume"])
            counts.append(len(rows))
            fronts.append(len(summary["candidates"]))
        low, high, mean = min(volumes), max(volumes), statistics.fmean(volumes)
        print(
            f"{strategy:10} mean {mean:.4f} ({low:.4f} to {high:.4f}); "
            f"candidates {counts}, on the front {fronts}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--strategies", nargs="+", default=["auto", "nsga2", "random"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--phase", default="decode")
    parser.add_argument("--space", default="llama_tiny")
    parser.add_argument("--data", default="builtin:python-docs")
    args = parser.parse_args()
    found: Rows = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_STUDIES"] = folder
        for seed in range(args.seeds):
            for strategy in args.strategies:
                found[strategy, seed] = search(strategy, seed, args)
                print(f"{strategy} seed {seed}: {len(found[strategy, seed])} candidates, load "
                      f"average {os.getloadavg()[0]:.2f}", flush=True)  # fmt: skip
    show(with_mean_latency(found), args)


if __name__ == "__main__":
    main()
