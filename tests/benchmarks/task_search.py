"""Search on a public data set for some minutes; the winner's test figures over fresh seeds.

Each of `SETS` is read from the files that its makers publish, in the folder given with `--data`;
without one, the task's built-in data takes its place. The figures in the README are of

    python tests/benchmarks/task_search.py sst2 --data FOLDER
    python tests/benchmarks/task_search.py fashion_mnist --data FOLDER
    python tests/benchmarks/task_search.py multi30k --data FOLDER
    python tests/benchmarks/task_search.py listops --data FOLDER
    python tests/benchmarks/task_search.py movielens --data FOLDER
"""

import argparse
import csv
import gzip
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nas
from nas.config import config_from_plain
from nas.driver.events import CandidateEnded, FinalsStarted

Files = str | dict[str, str]


def _lines(path: Path) -> list[str]:
    return gzip.open(path, "rt", encoding="utf-8").read().splitlines()


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def sst2(source: Path, folder: Path) -> Files:
    """Socher et al., 2013: whole sentences, as split by Kim, 2014."""
    names = {"train": "train", "val": "dev", "test": "test"}
    return {
        split: _write(
            folder / f"{split}.csv",
            ("label", "text"),
            (tuple(line.split(" ", 1)) for line in _lines(source / f"stsa.binary.{name}.txt.gz")),
        )
        for split, name in names.items()
    }


def listops(source: Path, folder: Path) -> Files:
    """Nangia and Bowman, 2018: its test set d20s, 8 parts train, 1 val, 1 test, and d20a."""

    def read(name: str) -> list[tuple[str, str]]:
        pairs = (line.split("\t") for line in _lines(source / name))
        return [(label, re.sub(r"[()] ?", "", text).strip()) for label, text in pairs]

    rows, more = read("test_d20s.tsv.gz"), read("test_d20a.tsv.gz")
    held = {text for _, text in rows}
    parts = {
        "train": [row for i, row in enumerate(rows) if i % 10 > 1]
        + [row for row in more if row[1] not in held],
        "val": rows[1::10],
        "test": rows[::10],
    }
    return {
        split: _write(folder / f"{split}.csv", ("label", "text"), found)
        for split, found in parts.items()
    }


def multi30k(source: Path, folder: Path) -> Files:
    """Elliott et al., 2016: English to German, task 1, test of 2016."""
    names = {"train": "train", "val": "val", "test": "test_2016_flickr"}
    return {
        split: _write(
            folder / f"{split}.csv",
            ("source", "target"),
            zip(*(_lines(source / f"{name}.{side}.gz") for side in ("en", "de")), strict=True),
        )
        for split, name in names.items()
    }


def movielens(source: Path, folder: Path) -> Files:
    """Harper and Konstan, 2015: ml-latest-small, all ratings; equal times by film."""
    rows = list(csv.DictReader(_lines(source / "ratings.csv.gz")))
    rows.sort(key=lambda row: (int(row["timestamp"]), int(row["movieId"])))
    cells = ((row["userId"], row["movieId"], row["timestamp"]) for row in rows)
    return _write(folder / "log.csv", ("user", "item", "time"), cells)


def fashion_mnist(source: Path, folder: Path) -> Files:
    """Xiao et al., 2017: its first 10,000 images to train on, its last 2,000 for val."""

    def read(name: str, head: int) -> Any:
        return np.frombuffer(gzip.open(source / name).read(), np.uint8, offset=head)

    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = read("train-labels-idx1-ubyte.gz", 8)
    np.savez(
        folder / "fashion_mnist.npz",
        x_train=images[:10_000], y_train=labels[:10_000],
        x_val=images[-2_000:], y_val=labels[-2_000:],
        x_test=read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28),
        y_test=read("t10k-labels-idx1-ubyte.gz", 8),
    )  # fmt: skip
    return str(folder / "fashion_mnist.npz")


@dataclass(frozen=True)
class Subject:
    """A data set: how its files become what a task reads, and the study that is run on them."""

    read: Callable[[Path, Path], Files]
    builtin: str
    minutes: float
    metric: str
    study: dict[str, Any]


# Images of 28 x 28 as 16 patches: a third of the compute of 49, so that 30 epochs are affordable.
PATCHES_OF_7 = {
    "format_version": 1,
    "family": "vit",
    "fixed": {"patch_size": 7},
    "dimensions": {
        "n_layer": {"min": 2, "max": 8},
        "d_model": {"choices": [64, 96, 128, 160]},
        "n_head": {"choices": [2, 4, 8]},
        "d_ff": {"min": 64, "max": 512, "step": 64},
    },
    "constraints": {"max_params": 1_000_000},
    "reference": {"n_layer": 4, "d_model": 96, "n_head": 4, "d_ff": 192},
}

SETS = {
    "sst2": Subject(
        sst2, "builtin:docstrings", 15, "accuracy",
        {
            "space": "modernbert_tiny",
            "task": {"name": "text_classification", "vocab_size": 4000},
            "recipe": {"context": 64, "batch": 32, "dropout": 0.4, "token_dropout": 0.2,
                       "label_smoothing": 0.1, "weight_decay": 1.0},
            "objectives": ["val_accuracy"],
            "per_candidate": {"examples": 40_000},
            "finalists": {"top": 2, "seeds": 3},
        },
    ),
    "fashion_mnist": Subject(
        fashion_mnist, "builtin:digits", 20, "accuracy",
        {
            "space": PATCHES_OF_7,
            "task": {"name": "image_classification"},
            "recipe": {"batch": 32, "dropout": 0.1, "augment": "flip", "label_smoothing": 0.1,
                       "early_stop": 8},
            "objectives": ["val_accuracy"],
            "per_candidate": {"examples": 300_000},
            "finalists": {"top": 1, "seeds": 2},
        },
    ),
    "multi30k": Subject(
        multi30k, "builtin:function-names", 30, "bleu",
        {
            "space": "blenderbot_small",
            "task": {"name": "sequence_to_sequence", "vocab_size": 4000},
            "recipe": {"context": 48, "batch": 32, "dropout": 0.1, "label_smoothing": 0.1},
            "objectives": ["val_loss"],
            "per_candidate": {"examples": 120_000},
            "finalists": {"top": 1, "seeds": 1},
        },
    ),
    "listops": Subject(
        listops, "builtin:docstrings", 20, "accuracy",
        {
            "space": "modernbert_small",
            "task": {"name": "text_classification", "vocab_size": 300},
            "recipe": {"context": 192, "batch": 32, "early_stop": 8},
            "objectives": ["val_accuracy"],
            "per_candidate": {"examples": 40_000},
            "finalists": {"top": 1, "seeds": 2},
        },
    ),
    "movielens": Subject(
        movielens, "builtin:name-log", 10, "hit_rate_10",
        {
            "space": "llama_items",
            "task": {"name": "sequential_recommendation"},
            "recipe": {"context": 32, "batch": 32, "dropout": 0.3, "token_dropout": 0.1,
                       "early_stop": 8},
            "objectives": ["val_ndcg_10"],
            "per_candidate": {"examples": 12_000},
            "finalists": {"top": 1, "seeds": 3},
        },
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--data", type=Path, help="the folder of its files")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    subject = SETS[args.set]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_STUDIES"] = folder
        data = subject.read(args.data, Path(folder)) if args.data else subject.builtin
        plain = {
            "format_version": 1,
            **subject.study,
            "task": {**subject.study["task"], "data": data},
            "stop": {"minutes": args.minutes or subject.minutes},
            "device": "cpu",
            "seed": args.seed,
        }
        report(plain, args.set, subject.metric)


def report(plain: dict[str, Any], name: str, metric: str) -> None:
    """Run the search and print the test figures of what it found."""
    begun = time.perf_counter()

    def show(event: object) -> None:
        now = time.perf_counter() - begun
        if isinstance(event, CandidateEnded):
            print(f"{now:6.0f} s  #{event.number} {event.role:9} {event.value}", flush=True)
        elif isinstance(event, FinalsStarted):
            print(f"{now:6.0f} s  finals: {event.trainings} trainings ({event.reason})", flush=True)

    study = nas.search(config_from_plain(plain, where="benchmark", name=name), listener=show)
    load = os.getloadavg()[0]
    print(f"{time.perf_counter() - begun:.0f} s wall, load average {load:.2f}")
    for group in study.finalists():
        row = group.rows[0]
        who = "reference" if group.is_reference else f"#{row.number}"
        spread = group.sd(f"test_{metric}")
        print(
            f"{who:10} test {metric} {group.mean(f'test_{metric}'):.4f}"
            f"{'' if spread is None else f' +- {spread:.4f}'} over {len(group.rows)} seeds, "
            f"{row.params:,} parameters, {dict(row.shape)}"
        )


if __name__ == "__main__":
    main()
