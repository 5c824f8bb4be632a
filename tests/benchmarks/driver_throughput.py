"""What the driver takes for a candidate at 100, 1,000 and 5,000, with 64 workers that take nothing.

The workers are simulated (`simulated.py`): they answer at once and write no models, so that all
time is the driver's: choosing, proposing, SQLite, checkpoints of paused candidates. Optuna's
mirror, which waits for idle moments, of which there are none here, is timed at the end. Times are
processor time, which is the wall time of an idle machine: the driver has one thread that works.

    python tests/benchmarks/driver_throughput.py [--candidates 5000] [--strategies random auto]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import simulated  # its threads are set above

import nas
from nas.driver.events import CandidateStarted

HALF = 50  # candidates before and after the one of which a figure is
LEAST_RATE, MOST_GROWTH = 30.0, 2.0


class Clock:
    """Notes when each new candidate of the search was begun."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, event: object) -> None:
        if isinstance(event, CandidateStarted) and event.number == len(self.times):
            self.times.append(time.process_time())

    def milliseconds(self, at: int) -> float:
        """The time of a candidate around the one of this number, goings-on of others included."""
        first, last = max(0, at - HALF), min(at + HALF, len(self.times) - 1)
        return 1e3 * (self.times[last] - self.times[first]) / (last - first)


def run(folder: Path, strategy: str, args: argparse.Namespace) -> tuple[Clock, float]:
    """Search; return the clock and the seconds from the last candidate's start to the end."""
    clock = Clock()
    options = {"strategy": strategy, "candidates": args.candidates, "workers": args.workers}
    nas.search(simulated.config(folder, strategy, **options), listener=clock)
    return clock, time.process_time() - clock.times[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--strategies", nargs="+", default=["random", "auto"])
    args = parser.parse_args()
    good = True
    print(f"{args.workers} simulated workers, load average {os.getloadavg()[0]:.2f}")
    for strategy in args.strategies:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NAS_STUDIES"] = folder
            clock, rest = run(Path(folder), strategy, args)
        places = [n for n in (100, 1000, args.candidates - HALF) if n < args.candidates]
        spent = {n: clock.milliseconds(n) for n in dict.fromkeys(places)}
        rate = (len(clock.times) - 1) / (clock.times[-1] - clock.times[0])
        whole = len(clock.times) / (clock.times[-1] - clock.times[0] + rest)
        growth = spent[places[-1]] / spent[places[0]]
        print(f"{strategy}: " + ", ".join(f"{ms:.1f} ms at {n:,}" for n, ms in spent.items()))
        print(f"  {rate:.0f} candidates a second, growth {growth:.2f}x; "
              f"{rest:.1f} s for the mirror, with it {whole:.0f} a second")  # fmt: skip
        good &= strategy != "random" or (rate >= LEAST_RATE and growth < MOST_GROWTH)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
