"""`nas init`: what it sees in data, what it proposes, and that the search runs on it unedited."""

import csv
import gzip
import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import need_module
from task_cases import CASES

from nas.config import load_config
from nas.errors import DataError, InputError
from nas.proposal import Machine, look, propose, study_text
from nas.proposal.writing import scalar
from nas.yaml_strict import load_yaml_text

REPOSITORY = Path(__file__).parents[2]
CPU = Machine(device="cpu", cores=2, memory_bytes=8 << 30, flops_per_second=3e10)
GPU = Machine(device="cuda", cores=8, memory_bytes=64 << 30, flops_per_second=2e13)
WORDS = ["warm", "cold", "tall", "short", "round", "flat", "loud", "calm", "new", "old"]


def rows(path, header, lines, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([*([header] if header else []), *lines])
    return path


def sentence(rng):
    return " ".join(rng.choices(WORDS, k=rng.randint(5, 12)))


def labelled(path, header=("text", "label"), names=("good", "bad"), count=90, delimiter=","):
    rng = random.Random(0)
    lines = [(sentence(rng), names[number % len(names)]) for number in range(count)]
    return rows(path, header, lines, delimiter)


def proposed(source, folder, *, machine=CPU, minutes=5.0, task=None):
    """Return sight, configuration and text of the file that is written for some data."""
    sight = look(str(source), task)
    file = folder / "study.yaml"
    text = study_text(propose(sight, machine, minutes), file)
    file.write_text(text, encoding="utf-8")
    return sight, load_config(file), text


@pytest.mark.parametrize("task", CASES)
def test_data_of_every_task_are_known_by_what_they_hold(task, tmp_path):
    source = CASES[task].source(tmp_path)
    sight, config, text = proposed(source, tmp_path)
    assert sight.task == config.task.name == task
    assert sight.options == {}
    assert config.stop.minutes == 5.0
    assert config.budget.amount >= 20 * config.recipe.tokens_per_step / config.recipe.context
    assert Path(config.task.data) == Path(source)
    assert max(map(len, text.splitlines())) <= 110  # the schema's address may be long
    assert config.objectives[0].startswith("val_")


@pytest.mark.parametrize("task", CASES)
def test_every_line_that_may_change_has_a_comment(task, tmp_path):
    _, _, text = proposed(CASES[task].source(tmp_path), tmp_path)
    lines = text.splitlines()
    for above, line in pairwise(lines):
        value = line.partition(":")[2].strip()
        if line.strip() and not line.lstrip().startswith("#") and value:
            told = "  # " in line or above.lstrip().startswith("# ")
            assert told or line.startswith("format_version"), line


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("a.csv", ("review", "stars")),
        ("a.tsv", ("Review Text", "how good")),
        ("a.csv", None),
    ],
)
def test_columns_of_other_names_are_found_by_content(name, columns, tmp_path):
    delimiter = "\t" if name.endswith("tsv") else ","
    source = labelled(tmp_path / name, columns, delimiter=delimiter)
    sight, config, _ = proposed(source, tmp_path)
    assert sight.task == "text_classification"
    assert sight.examples == 90
    assert set(sight.classes) == {"good", "bad"}
    found = config.task.options
    wanted = ("", "") if columns is None else columns
    if columns is not None and columns[0] == "review":
        wanted = ("", "stars")
    assert (found["text_column"], found["label_column"]) == wanted


def test_a_column_is_named_where_the_search_would_take_another(tmp_path):
    rng = random.Random(0)
    lines = [(f"{number}", sentence(rng), "ab"[number % 2]) for number in range(60)]
    path = rows(tmp_path / "a.csv", ("text", "review", "label"), lines)
    config = proposed(path, tmp_path)[1]
    assert config.task.options["text_column"] == ""  # by its name
    path = rows(tmp_path / "b.csv", ("text", "review", "mark"), lines)
    config = proposed(path, tmp_path)[1]
    assert config.task.options["text_column"] == "review"  # by its content


def test_jsonl_and_gzip_are_read(tmp_path):
    rng, path = random.Random(0), tmp_path / "x.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number in range(60):
            line = {"body": sentence(rng), "kind": number % 3, "tags": ["a"], "id": number}
            file.write(json.dumps(line) + "\n")
    sight, config, _ = proposed(path, tmp_path)
    assert (sight.task, sight.examples, len(sight.classes)) == ("text_classification", 60, 3)
    assert config.task.options["label_column"] == "kind"


def test_pairs_and_logs_of_other_names_are_found(tmp_path):
    rng = random.Random(1)
    pairs = rows(
        tmp_path / "pairs.csv",
        ("question", "answer"),
        [(sentence(rng), sentence(rng)) for _ in range(80)],
    )
    sight, config, _ = proposed(pairs, tmp_path)
    assert sight.task == "sequence_to_sequence"
    assert config.task.options["target_column"] == "answer"
    events = [(f"c{n % 20}", f"p{rng.randrange(9)}", n) for n in range(200)]
    log = rows(tmp_path / "log.csv", ("customer_no", "product_no", "bought_at_date"), events)
    sight, config, _ = proposed(log, tmp_path)
    assert sight.task == "sequential_recommendation"
    assert config.task.options["user_column"] == "customer_no"


def test_ambiguous_columns_are_told_with_the_other_choices(tmp_path):
    rng = random.Random(0)
    lines = [(sentence(rng), sentence(rng), "ab"[n % 2], "xyz"[n % 3]) for n in range(90)]
    path = rows(tmp_path / "a.csv", ("title", "body", "first", "second"), lines)
    sight, _, text = proposed(path, tmp_path)
    assert sight.task == "text_classification"
    told = " ".join(sight.notes)
    assert "--task sequence_to_sequence" in told
    assert "'first' is taken for the label; 'second' would do too" in told
    assert "task.label_column" in text
    other, config, _ = proposed(path, tmp_path, task="sequence_to_sequence")
    assert other.task == config.task.name == "sequence_to_sequence"


def test_rare_classes_and_copies_are_told(tmp_path):
    rng = random.Random(0)
    lines = [(sentence(rng), "no" if n % 12 else "yes") for n in range(144)]
    path = rows(tmp_path / "a.csv", ("text", "label"), [*lines, *lines[:7]])
    sight, config, text = proposed(path, tmp_path)
    assert config.objectives == ("val_macro_f1",)
    assert config.recipe.class_weights == "balanced"
    assert any("out of balance" in note for note in sight.notes)
    assert "7 of 151 texts are copies of another" in " ".join(text.split())


def test_files_for_each_split_are_named_so(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 60), ("valid", 20), ("test", 20)):
        labelled(folder / f"{split}.csv", count=count)
    sight, config, _ = proposed(folder, tmp_path)
    assert set(config.task.data) == {"train", "val", "test"}
    assert sight.examples == 100
    assert any("stand in train too" in note for note in sight.notes)


def test_folders_of_texts_and_of_pictures_are_told_apart(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.md").write_text(f"{number} words and more\n" * 100)
    assert proposed(tmp_path / "texts", tmp_path)[0].task == "language_modeling"
    need_module("PIL", 'pip install "transformer-nas[vision]"')
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(24):
        (tmp_path / "pets" / "cd"[number % 2]).mkdir(parents=True, exist_ok=True)
        side = 40 + number % 3
        pixels = rng.integers(0, 255, (side, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pets" / "cd"[number % 2] / f"{number}.png")
    sight, config, _ = proposed(tmp_path / "pets", tmp_path)
    assert sight.task == "image_classification"
    assert config.task.options["image_size"] == 32
    assert config.space.name == "vit_small"
    assert any("differ in size" in note for note in sight.notes)


def test_more_time_or_a_gpu_gives_larger_budgets_and_spaces(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("".join(f"{n} is {n * n} squared, said the clerk.\n" for n in range(90_000)))
    short = proposed(path, tmp_path, minutes=1)[1]
    longer = proposed(path, tmp_path, minutes=10)[1]
    hours = proposed(path, tmp_path, minutes=600)[1]
    assert short.space.name == longer.space.name == "llama_tiny"
    assert 5 * short.budget.amount < longer.budget.amount
    assert hours.space.name == "llama_small"
    assert hours.finalists.seeds == 3
    gpu = proposed(path, tmp_path, machine=GPU, minutes=30)[1]
    assert gpu.recipe.context == 256
    assert gpu.space.name == "llama_small"  # a few megabytes are no reason for a vocabulary


def test_study_file_moves_with_its_data(tmp_path, monkeypatch):
    place = tmp_path / "here"
    (place / "data set").mkdir(parents=True)
    source = labelled(place / "data set" / "ünï #1: x.csv")
    proposed(source, place)
    place.rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    config = load_config(tmp_path / "there" / "study.yaml")
    assert Path(config.task.data).is_file()


@settings(max_examples=40)
@given(st.text())
def test_any_text_is_read_back_from_yaml(text):
    assert load_yaml_text(f"k: {scalar(text)}  # c", "y")["k"] == text


@pytest.mark.parametrize("path", [r"C:\new\data 1\x.csv", r"\\server\share\t.txt", "yes", "~", "1"])
def test_paths_of_windows_and_odd_words_are_quoted(path):
    assert yaml.safe_load(f"data: {scalar(path)}") == {"data": path}


WRONG = {
    "missing.txt": (None, "no such file or folder"),
    "empty.csv": (b"", "empty; there is nothing to learn from"),
    "blank.csv": (b"text,label\n", "empty; there is nothing to learn from"),
    "binary.txt": (b"\x00\x01" * 400, "not UTF-8 text"),
    "latin.txt": (b"caf\xe9 " * 200, "not UTF-8 text"),
    "table.parquet": (b"PAR1", "no task reads .parquet files; save it as .csv"),
    "short.txt": (b"too short", "9 bytes of text; a search needs 400"),
    "semi.csv": (b"text;label\na;b\nc;d\n", "a csv file has commas between columns"),
    "numbers.csv": (b"a,b\n1,2\n3,4\n", "has the columns a, b; expected"),
    "one.csv": (b"text,label\n" + b"some words,same\n" * 9, "a classifier needs two classes"),
    "broken.csv": (b'text,label\n"a,b\n', "not csv"),
    "broken.jsonl": (b"{\n", "not JSON"),
    "broken.npz": (b"PK nothing", "not a readable npz file"),
    "broken.csv.gz": (b"text", "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_learned_from_is_refused_in_one_line(name, nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = WRONG[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    found = nas("init", name)
    assert found.code == 2
    assert len(found.err.splitlines()) == 1
    assert message in found.err
    assert not list(tmp_path.glob("*.yaml"))


def test_wrong_arguments_are_refused(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "a.csv")
    (tmp_path / "notes.yaml").write_text("words and more\n" * 50)
    (tmp_path / "a.yaml").write_text("mine")
    for arguments, message in (
        (("a.csv",), "a.yaml: is there already; --out another one, or --force"),
        (("notes.yaml",), "notes.yaml: is the data itself"),
        (("notes.yaml", "--force"), "notes.yaml: is the data itself"),
        (("a.csv", "--out", "b.txt"), "expected a file that ends in .yaml"),
        (("a.csv", "--out", "no/b.yaml"), "--out: no folder no"),
        (("a.csv", "--out", "b c.yaml"), "study name 'b c'"),
        (("a.csv", "--out", "b.yaml", "--task", "text_clasification"), "did you mean 'text_class"),
        (("a.csv", "--out", "b.yaml", "--task", "image_classification"), "npz"),
        (("builtin:docs",), "builtin:docs: unknown; known: builtin:python-docs"),
        (("a.csv", "--minutes", "0"), "0.05"),
    ):
        found = nas("init", *arguments)
        assert found.code == 2, arguments
        assert message in found.err
        assert len(found.err.splitlines()) == 1
    assert (tmp_path / "a.yaml").read_text() == "mine"


def test_look_says_what_a_directory_of_a_table_task_needs(tmp_path):
    with pytest.raises(DataError, match=r"reads a table: .*train\.csv"):
        look(str(tmp_path), "sequence_to_sequence")
    with pytest.raises(InputError, match=r"unknown task 'x'"):
        look(str(tmp_path), "x")


def _nas(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "nas", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", CASES)
def test_search_finishes_on_the_written_file_unedited(task, tmp_path):
    source = Path(CASES[task].source(tmp_path))
    made = _nas(tmp_path, "init", source.name, "--minutes", "0.1")
    assert made.returncode == 0, made.stderr
    file = tmp_path / f"{source.name.partition('.')[0]}.yaml"
    assert f"wrote {file.name}" in made.stdout
    assert max(map(len, made.stdout.splitlines())) <= 80
    done = _nas(tmp_path, "search", file.name)
    assert done.returncode == 0, done.stderr
    assert "winner" in done.stdout
    assert list((tmp_path / "studies" / file.stem / "models").iterdir())
