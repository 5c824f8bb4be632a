"""Two Ray nodes of one CPU against `inline`, candidates an hour.

Runs the same random candidates in turns in a temporary folder: inline, and on a local cluster of
two nodes that do not share the study's folder (`tests/nodes.py`), so that data, checkpoints and
models travel. Candidates an hour are counted over the search proper, without the finals, while no
worker was idle. Needs root or user namespaces, and a machine that is otherwise idle.

    python tests/benchmarks/ray_throughput.py [--candidates 12] [--tokens 100000] [--repeats 3]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# Else Ray takes another address of this machine for 127.0.0.1; it is read when Ray is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests share

from nodes import Nodes
from searching import Clock, arguments, run, show


def on_nodes(name: str, args: argparse.Namespace, folder: str) -> Clock:
    """Search on a cluster of two nodes that do not see a folder."""
    with tempfile.TemporaryDirectory(prefix="nas-", dir="/tmp") as temporary:
        nodes = Nodes(folder, temporary)
        try:
            nodes.have(2)
            os.environ["RAY_ADDRESS"] = nodes.address
            return run(name, args, executor="ray")
        finally:
            nodes.close()  # Ray's own processes do not disturb what runs inline


def main() -> None:
    args = arguments(__doc__, candidates=12).parse_args()
    clocks: dict[str, list[Clock]] = {"inline": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_STUDIES"] = folder
        for turn in range(args.repeats):
            clocks["inline"].append(run(f"inline-{turn}", args, executor="inline"))
            clocks["ray"].append(on_nodes(f"ray-{turn}", args, folder))
    print(f"load average {os.getloadavg()[0]:.2f}; {args.candidates} candidates, {args.repeats} x")
    rates = {executor: show(executor, found) for executor, found in clocks.items()}
    turns = zip(*clocks.values(), strict=True)
    ratios = [f"{ray.an_hour() / inline.an_hour():.2f}" for inline, ray in turns]
    print(f"ratio {rates['ray'] / rates['inline']:.2f}, of each turn {', '.join(ratios)}")


if __name__ == "__main__":
    main()
