"""Search for a task of your own, own/task.py: go on with a series of numbers.

    python examples/10_own_task.py [SERIES]

SERIES is a text file with a number a line; without one, two seasons and some noise are written to
./studies/series.txt. The task goes by its import string where a name stands. What you name
yourself, as here, needs no trust; a study file that names it does, and so does loading the model.
About half a minute on two cores. The study stays in ./studies/own_task, and running the script
again shows its result at once.
"""

import sys
from pathlib import Path

import numpy as np

import nas
from nas.data import PreparedData


def write_series(path: Path) -> Path:
    hours = np.arange(8000)
    seasons = 10 * np.sin(2 * np.pi * hours / 24) + 4 * np.sin(2 * np.pi * hours / 168)
    noise = np.random.default_rng(0).normal(size=len(hours))
    path.parent.mkdir(exist_ok=True)
    np.savetxt(path, seasons + noise, fmt="%.3f")
    return path


def main() -> None:
    data = sys.argv[1] if len(sys.argv) > 1 else str(write_series(Path("studies/series.txt")))
    study = nas.search(
        "quickstart",
        name="own_task",
        overrides={
            "task": {"name": "own.task:Forecasting", "data": data, "levels": 64},
            "objectives": ["val_error"],
            "per_candidate": {"tokens": 40_000},
            "stop": {"candidates": 6},
            "finalists": {"top": 1, "seeds": 1},
        },
    )

    print("val_error  val_loss  parameters")
    for row in study.trials("state == 'complete'", role="search"):
        error, loss = row.metrics["val_error"], row.metrics["val_loss"]
        print(f"{error:9.3f}  {loss:8.4f}  {row.params:10,}")

    model = nas.load(study, trust=True)
    prepared = PreparedData.open(study.folder / "data")
    middles, test = prepared.array("middles"), prepared.array("test.ids")
    known = model.task_spec.context // 2
    written = model.generate(test[:known].tolist(), max_new_tokens=12, temperature=0)[known:]
    print(f"\nafter {known} numbers of the test split, that it never saw")
    print("written ", *(f"{middles[level]:6.1f}" for level in written))
    print("truth   ", *(f"{middles[level]:6.1f}" for level in test[known : known + 12]))


main()  # without a guard on __name__: workers do not import this script
