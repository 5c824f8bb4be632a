"""Worker processes against one, and what a candidate costs beside training and validation.

Runs the same random candidates of a space with one worker and with several, in turns, in a
temporary folder. Candidates an hour are counted over the search proper, without the finals.

    python tests/benchmarks/searching.py [--workers 2] [--candidates 8] [--tokens 100000]
"""

import argparse
import os
import statistics
import tempfile
import time

import nas
from nas.config import config_from_plain
from nas.driver.events import CandidateEnded, CandidateStarted


class Clock:
    """Notes when jobs start and end, and how long each slot was kept from training."""

    def __init__(self) -> None:
        self.starts: dict[str, float] = {}
        self.ends: dict[str, float] = {}
        self.besides: list[float] = []  # seconds a candidate, of slots that went on
        self._freed: list[tuple[float, float]] = []  # start and working seconds of ended jobs

    def __call__(self, event: object) -> None:
        now = time.perf_counter()
        if isinstance(event, CandidateStarted):
            self.starts[event.candidate_id] = now
            if self._freed:
                start, working = self._freed.pop(0)
                self.besides.append(now - start - working)
        if isinstance(event, CandidateEnded):
            candidate = event.outcome.candidate_id
            self.ends[candidate] = now
            self._freed.append((self.starts[candidate], event.outcome.timings["run"]))

    def an_hour(self, workers: int) -> float:
        """Candidates an hour while all workers were at work: from their first jobs to the last.

        A candidate that began before or ended after counts by the part of its time between.
        """
        starts = sorted(self.starts.values())
        first, last = starts[workers - 1], starts[-1]
        done = 0.0
        for candidate, end in self.ends.items():
            start = self.starts[candidate]
            done += max(0.0, min(end, last) - max(start, first)) / (end - start)
        return 3600 * done / (last - first)

    def beside(self) -> float:
        """Milliseconds from one candidate's start to the next one's that it did not train."""
        return statistics.median(self.besides) * 1e3


def run(name: str, args: argparse.Namespace, **where: object) -> Clock:
    """Search in a folder of its own and return the times.

    Args:
        name: The study's.
        args: How many candidates, and of what.
        where: Executor and workers.
    """
    clock = Clock()
    plain = {
        "format_version": 1,
        "space": args.space,
        "task": {"name": "language_modeling", "data": args.data},
        "per_candidate": {"tokens": args.tokens},
        "finalists": {"top": 0, "seeds": 1},
        "stop": {"candidates": args.candidates},
        "strategy": args.strategy,
        "device": "cpu",
        **where,
    }
    nas.search(config_from_plain(plain, where="benchmark", name=name), listener=clock)
    return clock


def arguments(about: str, *, candidates: int) -> argparse.ArgumentParser:
    """Return a parser of what a search here is made of."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--candidates", type=int, default=candidates)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--space", default="llama_tiny")
    parser.add_argument("--strategy", default="random")
    parser.add_argument("--data", default="builtin:python-docs")
    return parser


def show(name: str, clocks: list[Clock], workers: int) -> float:
    """Print the medians of some runs and return the candidates an hour."""
    rate = statistics.median(clock.an_hour(workers) for clock in clocks)
    beside = statistics.median(clock.beside() for clock in clocks)
    print(f"{name}: {rate:7.0f} candidates an hour, "
          f"{beside:5.0f} ms a candidate beside training and validation")  # fmt: skip
    return rate


def main() -> None:
    parser = arguments(__doc__, candidates=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    clocks: dict[int, list[Clock]] = {1: [], args.workers: []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_STUDIES"] = folder
        for turn in range(args.repeats):
            for workers, found in clocks.items():
                name = f"w{workers}-{turn}"
                found.append(run(name, args, executor="processes", workers=workers))
    print(f"load average {os.getloadavg()[0]:.2f}; {args.candidates} candidates, {args.repeats} x")
    rates = {
        workers: show(f"{workers} worker(s)", found, workers) for workers, found in clocks.items()
    }
    print(f"ratio {rates[args.workers] / rates[1]:.2f}")


if __name__ == "__main__":
    main()
