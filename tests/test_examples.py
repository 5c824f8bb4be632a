"""Every example runs as a newcomer would run it, in an empty folder, with a smaller budget."""

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
TEXT = "The north wind and the sun disputed which of them was the stronger.\n" * 200
# A study file of this name in ./studies goes before the shipped one: the same, but brief.
BRIEF = """
format_version: 1
space: {space}
task: {{name: {task}, data: none{options}}}
recipe: {{batch: 8{context}}}
per_candidate: {{examples: 64}}
finalists: {{top: 1, seeds: 1}}
stop: {{candidates: 1}}
"""


def table(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def text(folder):
    (folder / "data").write_text(TEXT)


def texts(folder):
    rows = [(f"word number {n}", "ab"[n % 2]) for n in range(60)]
    table(folder / "data.csv", ("text", "label"), rows)


def pairs(folder):
    rows = [(f"say {n}", f"{n} said") for n in range(60)]
    table(folder / "data.csv", ("source", "target"), rows)


def images(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 8, 8), dtype=np.uint8)
    np.savez(folder / "data.npz", x=pixels, y=np.arange(80) % 2)


def log(folder):
    rng = random.Random(0)
    rows = [(user, rng.randrange(20), time) for user in range(20) for time in range(6)]
    table(folder / "data.csv", ("user", "item", "time"), rows)


# Of each example: what writes its data, its study file's name and content, and what it prints.
CASES = {
    "01_own_text": (text, None, {}, "\nThe "),
    "02_classify_texts": (
        texts,
        "classify_docstrings",
        {"space": "modernbert_tiny", "task": "text_classification", "context": ", context: 16",
         "options": ", vocab_size: 300"},
        "macro F1",
    ),
    "03_write_for_a_text": (
        pairs,
        "name_functions",
        {"space": "blenderbot_tiny", "task": "sequence_to_sequence", "context": ", context: 16",
         "options": ", vocab_size: 300"},
        "-> ",
    ),
    "04_classify_images": (
        images,
        "digits",
        {"space": "vit_tiny", "task": "image_classification", "context": "", "options": ""},
        "test accuracy",
    ),
    "05_recommend": (
        log,
        "recommend_names",
        {"space": "llama_items", "task": "sequential_recommendation", "context": ", context: 16",
         "options": ""},
        "comes ",
    ),
}  # fmt: skip


def test_every_example_has_a_case():
    assert [script.stem for script in EXAMPLES] == list(CASES)


# The first is tried at once, the others with the slow tests.
LATER = [pytest.param(script, marks=pytest.mark.slow, id=script.stem) for script in EXAMPLES[1:]]


@pytest.mark.parametrize("script", [pytest.param(EXAMPLES[0], id=EXAMPLES[0].stem), *LATER])
def test_example_runs_and_shows_what_its_model_does(script, tmp_path):
    write, name, brief, shown = CASES[script.stem]
    write(tmp_path)
    if name is not None:
        (tmp_path / "studies").mkdir()
        (tmp_path / "studies" / f"{name}.yaml").write_text(BRIEF.format(**brief))
    [data] = tmp_path.glob("data*")
    environment = {k: v for k, v in os.environ.items() if k != "NAS_STUDIES"}
    run = subprocess.run(
        [sys.executable, str(script), data.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert list((tmp_path / "studies").glob("*/study.db"))
    assert shown in run.stdout
