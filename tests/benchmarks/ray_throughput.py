"""Two Ray nodes of one CPU against `inline`, candidates an hour.

Runs the same random candidates in turns in a temporary folder: inline, by two worker processes
(what the machine has to give: two cores seldom do twice the work of one), and on a local cluster of
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

WORKERS = {"inline": 1, "processes": 2, "ray": 2}


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
    clocks: dict[str, list[Clock]] = {name: [] for name in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_STUDIES"] = folder
        for turn in range(args.repeats):
            clocks["inline"].append(run(f"inline-{turn}", args, executor="inline"))
            two = {"executor": "processes", "workers": WORKERS["processes"]}
            clocks["processes"].append(run(f"processes-{turn}", args, **two))
            clocks["ray"].append(on_nodes(f"ray-{turn}", args, folder))
    print(f"load average {os.getloadavg()[0]:.2f}; {args.candidates} candidates, {args.repeats} x")
    rates = {name: show(name, found, WORKERS[name]) for name, found in clocks.items()}
    for name in ("processes", "ray"):
        turns = zip(clocks["inline"], clocks[name], strict=True)
        ratios = [two.an_hour(WORKERS[name]) / one.an_hour(1) for one, two in turns]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: {rates[name] / rates['inline']:.2f} x inline, of each turn {each}")


if __name__ == "__main__":
    main()
