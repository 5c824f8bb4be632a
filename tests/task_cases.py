"""A small source and a small model for each task."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.data import DataRequest, Split
from nas.families import architecture
from nas.records import Architecture, Recipe
from nas.tasks import task_class

SPLIT = Split(train=0.7, val=0.15, test=0.15)
WORDS = [
    "red",
    "blue",
    "green",
    "warm",
    "cold",
    "tall",
    "short",
    "round",
    "flat",
    "loud",
    "calm",
    "new",
    "old",
    "wet",
    "dry",
]


def _write_rows(path: Path, header: list[str], rows: list[tuple]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def _text(folder: Path) -> str:
    path = folder / "text.txt"
    path.write_text("The north wind and the sun disputed which was the stronger.\n" * 100)
    return str(path)


def _labelled(folder: Path) -> str:
    rng, rows = random.Random(0), []
    for number in range(240):
        words = rng.choices(WORDS, k=rng.randint(2, 9))
        label = ("no", "yes", "maybe")[number % 3]
        words[rng.randrange(len(words))] = {"no": "never", "yes": "always", "maybe": "often"}[label]
        rows.append((" ".join(words), label))
    return _write_rows(folder / "labelled.csv", ["text", "label"], rows)


def _pairs(folder: Path) -> str:
    rng, rows = random.Random(0), []
    for _ in range(240):
        words = rng.choices(WORDS[:6], k=rng.randint(2, 5))
        rows.append((" ".join(words), " ".join(words)))
    return _write_rows(folder / "pairs.csv", ["source", "target"], rows)


def _images(folder: Path) -> str:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    pixels = rng.integers(0, 80, (200, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 150
    np.savez(folder / "images.npz", x=pixels, y=labels)
    return str(folder / "images.npz")


def _log(folder: Path) -> str:
    rng, rows = random.Random(0), []
    for user in range(40):
        item = rng.randrange(12)
        for time in range(rng.randint(5, 12)):
            rows.append((f"u{user}", f"item{item}", time))
            item = (item + 1) % 12
    return _write_rows(folder / "log.csv", ["user", "item", "time"], rows)


@dataclass(frozen=True)
class Case:
    """How a task is tried: what writes its source, which shape learns it, and how long."""

    source: object
    shape: Architecture
    context: int = 16
    options: dict = field(default_factory=dict)
    steps: int = 60
    rate: float = 0.02

    def recipe(self, **changes) -> Recipe:
        return Recipe(**{"context": self.context, "batch": 16, "rate": self.rate, **changes})


_small = {"n_layer": 1, "d_model": 32, "n_head": 2, "d_ff": 64}
CASES = {
    "language_modeling": Case(_text, architecture("llama", **_small)),
    "text_classification": Case(
        _labelled, architecture("bert", **_small), options={"vocab_size": 300}, context=24
    ),
    "sequence_to_sequence": Case(
        _pairs, architecture("blenderbot", **_small), options={"vocab_size": 300}, steps=100
    ),
    "image_classification": Case(_images, architecture("vit", **_small, patch_size=2), context=1),
    "sequential_recommendation": Case(_log, architecture("llama", **_small)),
}


def request_for(name: str, source: str, **changes) -> DataRequest:
    """Return the request for a source with a task's usual options, some of them changed."""
    defaults = {key: option.default for key, option in task_class(name).options.items()}
    case = CASES[name]
    known = {"split": SPLIT, "context": case.context} | changes
    options = defaults | case.options | known.pop("options", {})
    return DataRequest.of(source, **known, options=options)
