"""Two Ray nodes of one CPU against `inline`, candidates an hour.

Runs the same random candidates in turns in a temporary folder: inline, and on a local cluster of
two nodes that do not share the study's folder (`tests/ray_nodes.py`), so that data, checkpoints
and models travel. Candidates an hour are counted over the search proper, without the finals, while
no worker was idle. Needs root or user namespaces, and a machine that is otherwise idle.

    python tests/benchmarks/ray_throughput.py [--candidates 12] [--tokens 100000] [--repeats 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from searching import Clock

import nas
from nas.config import config_from_plain

NODES = Path(__file__).parents[1] / "ray_nodes.py"


def run(name: str, args: argparse.Namespace, executor: str) -> Clock:
    """Search in a folder of its own and return the times."""
    clock = Clock()
    plain = {
        "format_version": 1,
        "space": args.space,
        "task": {"name": "language_modeling", "data": args.data},
        "per_candidate": {"tokens": args.tokens},
        "finalists": {"top": 0, "seeds": 1},
        "stop": {"candidates": args.candidates},
        "strategy": "random",
        "executor": executor,
        "device": "cpu",
    }
    nas.search(config_from_plain(plain, where="benchmark", name=name), listener=clock)
    return clock


def start_nodes(hidden: str, temporary: str) -> subprocess.Popen[str]:
    """Start a cluster that does not see a folder, add two nodes and set its address."""
    cover = 'mount -t tmpfs none "$1" && exec "$2" "$3" 0'
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", cover, "sh", hidden, sys.executable, str(NODES)],
        env={**os.environ, "TMPDIR": temporary, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    os.environ["RAY_ADDRESS"] = process.stdout.readline().strip()
    for _ in range(2):
        process.stdin.write("add\n")
        process.stdin.flush()
        process.stdout.readline()
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--space", default="llama_tiny")
    parser.add_argument("--data", default="builtin:python-docs")
    args = parser.parse_args()
    clocks: dict[str, list[Clock]] = {"inline": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as temporary:
        os.environ["NAS_STUDIES"] = folder
        for turn in range(args.repeats):
            clocks["inline"].append(run(f"inline-{turn}", args, "inline"))
            nodes = start_nodes(folder, temporary)  # Ray's own processes do not disturb inline
            clocks["ray"].append(run(f"ray-{turn}", args, "ray"))
            nodes.communicate()
    print(f"load average {os.getloadavg()[0]:.2f}; {args.candidates} candidates, {args.repeats} x")
    rates = {}
    for executor, found in clocks.items():
        rates[executor] = statistics.median(clock.an_hour() for clock in found)
        beside = statistics.median(clock.beside() for clock in found)
        print(f"{executor:6}: {rates[executor]:7.0f} candidates an hour, "
              f"{beside:5.0f} ms a candidate beside training and validation")  # fmt: skip
    turns = zip(*clocks.values(), strict=True)
    ratios = [f"{ray.an_hour() / inline.an_hour():.2f}" for inline, ray in turns]
    print(f"ratio {rates['ray'] / rates['inline']:.2f}, of each turn {', '.join(ratios)}")


if __name__ == "__main__":
    main()
