"""What a driver keeps of a candidate: memory, handles, threads and processes over thousands.

5,000 candidates of simulated workers (`simulated.py`), once as it is and once with every
allocation of Python traced; then some real ones in worker processes. Exit status 1: more than
10 KB a candidate, or a handle that was not given back.

    python tests/benchmarks/soak.py [--candidates 5000] [--real 300]
"""

import argparse
import gc
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests share

import numpy as np  # its threads are set above
import simulated
from tiny_study import MANY, plain_study, write_text

import nas
from nas.config import config_from_plain
from nas.driver.events import CandidateEnded

MOST_BYTES = 10_000  # a candidate
ENOUGH = {False: 2_000, True: 100}  # candidates, not traced and traced, to tell more of them than
# of the beginning, when caches fill
EVERY = 10  # looks over a run
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Look:
    """What this process holds after so many candidates."""

    candidates: int
    resident: int  # bytes
    traced: int  # bytes that Python's objects hold; 0 where they are not traced
    handles: int
    threads: int
    children: int


class Watch:
    """A listener that looks at this process now and then."""

    def __init__(self, every: int) -> None:
        self.every, self.looks, self._newest = every, [], 0

    def __call__(self, event: object) -> None:
        if isinstance(event, CandidateEnded) and event.role == "search":
            self._newest = max(self._newest, event.number + 1)
            if self._newest >= self.every * (len(self.looks) + 1):
                self.looks.append(look(self._newest))

    def slope(self, what: Callable[[Look], int]) -> float:
        """Bytes a candidate, a line through all looks but the first."""
        seen = self.looks[1:]
        return float(np.polyfit([one.candidates for one in seen], [what(o) for o in seen], 1)[0])


def look(candidates: int) -> Look:
    gc.collect()
    children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return Look(
        candidates=candidates,
        resident=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
        traced=tracemalloc.get_traced_memory()[0],
        handles=len(list(Path("/proc/self/fd").iterdir())),
        threads=len(list(Path("/proc/self/task").iterdir())),
        children=sum(len(found) for found in children),
    )


def soak(name: str, config: object, candidates: int, *, traced: bool) -> bool:
    """Search, print what grew, and say whether it is little enough."""
    watch = Watch(candidates // EVERY)
    if traced:
        tracemalloc.start()
    nas.search(config, listener=watch)
    tracemalloc.stop()
    first, last = watch.looks[1], watch.looks[-1]
    spent = watch.slope(lambda one: one.traced if traced else one.resident)
    held = (first.handles, first.threads, first.children)
    now = (last.handles, last.threads, last.children)
    what = "bytes of Python's objects" if traced else "bytes of resident memory"
    print(f"{name}: {candidates} candidates, {spent:,.0f} {what} a candidate; handles, threads "
          f"and children {held} at {first.candidates}, {now} at {last.candidates}; "
          f"resident at the end {last.resident / 2**20:.0f} MB", flush=True)  # fmt: skip
    little = spent < MOST_BYTES or candidates < ENOUGH[traced]
    return little and all(b <= a for a, b in zip(held, now, strict=True))


def real(folder: Path, candidates: int) -> object:
    """Return a study of real candidates, as tiny as they come, in two worker processes."""
    plain = plain_study(
        write_text(folder / "words.txt"),
        space=MANY,
        per_candidate={"tokens": 1024},
        finalists={"top": 0, "seeds": 1},
        stop={"candidates": candidates},
        executor="processes",
        workers=2,
    )
    return config_from_plain(plain, where="benchmark", name="real")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=5000)
    parser.add_argument("--real", type=int, default=300)
    args = parser.parse_args()
    good = True
    for traced in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NAS_STUDIES"] = folder
            options = {"candidates": args.candidates, "workers": 64}
            study = simulated.config(Path(folder), "soak", **options)
            good &= soak("simulated", study, args.candidates, traced=traced)
    if args.real:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NAS_STUDIES"] = folder
            study = real(Path(folder), args.real)
            good &= soak("processes", study, args.real, traced=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
