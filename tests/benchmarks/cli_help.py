"""How long `nas --help` takes, beside `python -c pass`, and which heavy modules it imports.

python tests/benchmarks/cli_help.py [--repeats 20]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

HEAVY = ("torch", "optuna", "sqlalchemy", "numpy", "transformers")


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run of a command."""
    before = os.times()
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall = time.perf_counter() - begun
    after = os.times()
    cpu = after.children_user - before.children_user
    return wall, cpu + after.children_system - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "nas --help": [sys.executable, "-m", "nas", "--help"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            measured = seconds(command)
            if turn:  # the first run warms the file cache
                times[name].append(measured)
    for name, measured in times.items():
        wall, cpu = (statistics.median(values) * 1e3 for values in zip(*measured, strict=True))
        print(f"{name:16} {wall:6.0f} ms wall  {cpu:6.0f} ms CPU  (median of {repeats})")
    code = (
        "import sys; sys.argv = ['nas', '--help']\n"
        "from nas.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    print("heavy modules imported:", done.stdout.rpartition("HEAVY ")[2].strip())


if __name__ == "__main__":
    main()
