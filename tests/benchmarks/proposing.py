"""What a proposal costs at 100, 1,000 and 5,000 candidates, in processor time.

The history is of random shapes of a shipped space with a made-up loss; a few of them run or have
stopped at a lower rung. The first proposal is left out: a search makes it once. Processor time is
the wall time of an idle machine, one thread being used.

    python tests/benchmarks/proposing.py [--space llama_base] [--strategies auto tpe evolution]
"""

import argparse
import os
import statistics
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # its threads are set above

from nas.records import TaskSpec
from nas.space import BoundSpace
from nas.space.space import load_space
from nas.strategies import Observation, make_strategy

COUNTS = (100, 1000, 5000)


def bind(name: str) -> BoundSpace:
    """Return a shipped space of decoders under a byte-level task."""
    spec = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=64)
    return load_space(name).bind(spec, context=64, batch=8)


def history(space: BoundSpace, count: int) -> list[Observation]:
    """Return distinct random shapes with losses that fall with size, and noise."""
    rng = np.random.default_rng(0)
    drawn: dict[str, object] = {}
    while len(drawn) < count:
        found = space.sample(rng)
        drawn[found.id] = found
    return [_observe(space, at, found, rng) for at, found in enumerate(drawn.values())]


def _observe(space: BoundSpace, number: int, found, rng: np.random.Generator) -> Observation:
    columns = space.columns(found)
    loss = float(10 / columns["non_embedding_params"] ** 0.1 + 0.02 * rng.standard_normal())
    state = "running" if number % 100 == 99 else "paused" if number % 3 else "complete"
    return Observation(
        number=number,
        architecture_id=found.id,
        parameters=space.space.encode(found),
        state=state,
        values=(loss,) if state == "complete" else None,
        columns=columns,
        rungs=() if state == "running" else ((100_000, (loss + 0.3,)),),
    )


def milliseconds(space: BoundSpace, strategy: str, seen: list[Observation], times: int) -> float:
    """Return the median time of a proposal."""
    chooser = make_strategy(strategy, space, seed=0, directions=["minimize"])
    chooser.propose(seen, len(seen))
    spent = []
    for number in range(len(seen) + 1, len(seen) + 1 + times):
        begun = time.process_time()
        chooser.propose(seen, number)
        spent.append(1e3 * (time.process_time() - begun))
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="llama_base")
    parser.add_argument("--strategies", nargs="+", default=["auto", "evolution", "random", "tpe"])
    parser.add_argument("--times", type=int, default=11)
    args = parser.parse_args()
    space = bind(args.space)
    seen = history(space, max(COUNTS))
    print(f"{args.space}: median milliseconds of one processor a proposal")
    print(f"{'candidates':12s}" + "".join(f"{count:>10,d}" for count in COUNTS))
    for strategy in args.strategies:
        spent = [milliseconds(space, strategy, seen[:count], args.times) for count in COUNTS]
        print(f"{strategy:12s}" + "".join(f"{one:10.1f}" for one in spent))


if __name__ == "__main__":
    main()
