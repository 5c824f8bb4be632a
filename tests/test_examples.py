"""Every example runs as a newcomer would run it, in an empty folder, and again.

The one on Ray is in `driver/test_ray_example.py`: it is run alone.
"""

import csv
import random
import re

import numpy as np
import pytest
from needs import need_module
from run_examples import EXAMPLES, run_example

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


# Of each task's: what writes its data, its study file's name and content, and what it prints.
TASKS = {
    "01_own_text": (text, None, {}, r"\nThe "),
    "02_classify_texts": (
        texts,
        "classify_docstrings",
        {"space": "modernbert_tiny", "task": "text_classification", "context": ", context: 16",
         "options": ", vocab_size: 300"},
        r"macro F1 \d(.|\n)*% [ab]\n",
    ),
    "03_write_for_a_text": (
        pairs,
        "name_functions",
        {"space": "blenderbot_tiny", "task": "sequence_to_sequence", "context": ", context: 16",
         "options": ", vocab_size: 300"},
        r"\n-> ",
    ),
    "04_classify_images": (
        images,
        "digits",
        {"space": "vit_tiny", "task": "image_classification", "context": "", "options": ""},
        r"test accuracy \d(.|\n)*% [01]\n",
    ),
    "05_recommend": (
        log,
        "recommend_names",
        {"space": "llama_items", "task": "sequential_recommendation", "context": ", context: 16",
         "options": ""},
        r"\nafter ( \d+)+\ncomes ( \d+){5}\n",
    ),
}  # fmt: skip
FINISHED = ("06_query", "07_plot", "08_load_and_generate", "14_export", "15_finetune")
OTHERS = ("09_own_family", "10_own_task", "11_good_and_fast", "12_postgresql", "13_ray")
ID = r"\b[0-9a-f]{12}\b"


def test_every_example_is_tested():
    known = sorted([*TASKS, *FINISHED, *OTHERS])
    assert [script.stem for script in sorted(EXAMPLES.glob("*.py"))] == known


# The first is tried at once, the others with the slow tests.
@pytest.mark.parametrize(
    "name", [name if name < "02" else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]
)
def test_example_of_a_task_runs_and_shows_what_its_model_does(name, tmp_path):
    write, study, brief, shown = TASKS[name]
    write(tmp_path)
    if study is not None:
        (tmp_path / "studies").mkdir()
        (tmp_path / "studies" / f"{study}.yaml").write_text(BRIEF.format(**brief))
    [data] = tmp_path.glob("data*")
    printed = run_example(name, tmp_path, data.name)
    assert list((tmp_path / "studies").glob("*/study.db"))
    assert re.search(shown, printed), printed


def run_twice(name, folder, *arguments, **variables):
    """Run an example; the second time it finds its study and says the same."""
    printed = run_example(name, folder, *arguments, **variables)
    assert run_example(name, folder, *arguments, **variables) == printed
    return printed


@pytest.mark.slow
def test_examples_of_a_finished_study_share_one_search(tmp_path):
    need_module("onnxruntime", 'pip install "transformer-nas[onnx]"')
    need_module("tensorflow", 'pip install "transformer-nas[tensorflow]"')
    query(tmp_path)
    plot(tmp_path)
    load_and_generate(tmp_path)
    export(tmp_path)
    finetune(tmp_path)


def query(folder):
    printed = run_example("06_query", folder)
    answers = [re.findall(ID, answer) for answer in re.split(r"\n\n(?=\w+: )", printed)]
    assert len(answers) == 4
    assert answers[0]
    assert all(answer == answers[0] for answer in answers), "one answer, in one order"


def plot(folder):
    printed = run_example("07_plot", folder)
    count = int(re.match(r"(\d+) candidates, best loss \d", printed)[1])
    page = (folder / "small.html").read_text(encoding="utf-8")
    assert page.count("n_layer ") == count > 3
    assert "<script src=" not in page, "no network"


def load_and_generate(folder):
    printed = run_example("08_load_and_generate", folder)
    assert "\nval   loss" in printed
    assert printed.count("The function ") >= 3
    assert len(re.findall(r"^ *\d+\.\d% ", printed, re.MULTILINE)) == 3


def export(folder):
    printed = run_example("14_export", folder)
    assert re.search(r"^onnx: \S+ MB", printed, re.MULTILINE)
    assert re.search(r"^tensorflow: \S+ MB", printed, re.MULTILINE)
    written = re.findall(r"written by .*?: +((?:.|\n)+?)(?=written|\Z)", printed)
    assert len(written) == 2
    assert written[0].strip() == written[1].strip()


def finetune(folder):
    printed = run_twice("15_finetune", folder)
    before, after = map(float, re.findall(r"(\d\.\d+) (?:before|after)", printed))
    assert after < before


@pytest.mark.slow
def test_own_family_is_searched_and_loaded(tmp_path):
    text(tmp_path)
    printed = run_example("09_own_family", tmp_path, "data")
    assert "own.family:ParallelShape" in printed
    layers = re.findall(r"(\d), (\d)$", printed, re.MULTILINE)
    assert len(layers) > 3
    assert any(parallel != "0" for _, parallel in layers)
    assert "\nThe " in printed


@pytest.mark.slow
def test_own_task_goes_on_with_its_series(tmp_path):
    printed = run_twice("10_own_task", tmp_path)
    written, truth = (
        np.array(re.search(rf"{name} (.*)", printed)[1].split(), dtype=float)
        for name in ("written", "truth")
    )
    assert len(written) == len(truth) == 12
    error = float(re.search(r"val_error.*\n *(\S+)", printed)[1])
    assert error < 4, "guessing the middle is off by about seven"


@pytest.mark.slow
def test_front_goes_from_fast_to_good(tmp_path):
    text(tmp_path)
    printed = run_example("11_good_and_fast", tmp_path, "data")
    front = [tuple(map(float, row)) for row in re.findall(r"^ +([\d.]+) +([\d.]+) ", printed, re.M)]
    assert front
    assert front == sorted(front)
    assert [loss for _, loss in front] == sorted((loss for _, loss in front), reverse=True)
    assert "\nThe " in printed


@pytest.mark.slow
def test_rows_are_on_the_server(postgres, postgres_url, tmp_path):
    url = postgres_url.replace("postgresql+psycopg:", "postgresql:")
    printed = run_example("12_postgresql", tmp_path, NAS_DATABASE=url)
    database = url.rpartition("/")[2]
    [(count,)] = postgres.execute("SELECT count(*) FROM nas_leaderboard", database)
    assert count > 4
    stored = {
        row[0] for row in postgres.execute("SELECT candidate_id FROM nas_candidate", database)
    }
    assert set(re.findall(ID + "  ", printed)) <= {f"{one}  " for one in stored}
    assert not (tmp_path / "studies" / "on_a_server" / "study.db").exists()
    assert run_example("12_postgresql", tmp_path, url) == printed
