"""The README's code blocks run as they stand, in order, in one folder.

A block under `<!-- test: run -->` is run, one under `<!-- test: file NAME -->` is written to that
file, one under `<!-- test: keras -->` is run by itself where there is TensorFlow. The budget is
small because the folder has study files of its own; what `nas init` proposed is made small before
a block under `<!-- test: run brief -->`.
"""

import os
import re
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from needs import need_module
from test_layers import LAYERS

import nas

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- test: (\w+) ?(\S*) -->\n```(\w+)\n(.*?)```", re.DOTALL)

TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom.\n" * 150
QUICKSTART = """\
format_version: 1
space: llama_tiny
task: {name: language_modeling, data: "builtin:python-docs"}
recipe: {context: 32, batch: 8}
per_candidate: {tokens: 4096}
finalists: {top: 1, seeds: 2}
stop: {candidates: 3}
keep: 5
"""
CLASSIFY = """\
format_version: 1
space: bert_tiny
task: {name: text_classification, data: "builtin:docstrings", vocab_size: 300}
recipe: {context: 16, batch: 8}
per_candidate: {examples: 64}
finalists: {top: 1, seeds: 1}
stop: {candidates: 2}
"""


@dataclass(frozen=True)
class Block:
    kind: str
    name: str
    language: str
    code: str


BLOCKS = [Block(*found) for found in BLOCK.findall(README)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    (folder / "mybook.txt").write_text(TEXT)
    (folder / "studies").mkdir()
    (folder / "search_spaces").mkdir()
    (folder / "studies" / "quickstart.yaml").write_text(QUICKSTART)
    (folder / "studies" / "classify_docstrings.yaml").write_text(CLASSIFY)
    rows = "".join(f"number {n} is fine,{'ab'[n % 2]}\n" for n in range(60))
    (folder / "reviews.csv").write_text(f"text,label\n{rows}")
    return folder


def run(block, folder):
    """Run a block and return what it wrote."""
    if block.language == "sql":
        with sqlite3.connect(folder / "studies" / "mybook" / "study.db") as database:
            rows = "\n".join(map(str, database.execute(block.code)))
        database.close()
        return rows
    environment = {k: v for k, v in os.environ.items() if k != "NAS_STUDIES"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    shell = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    result = subprocess.run(
        [*shell[block.language], block.code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{block.code}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.slow
def test_blocks_run_in_order(folder):
    answers = []
    for block in BLOCKS:
        if block.kind == "keras":
            continue
        if block.kind == "file":
            (folder / block.name).write_text(block.code)
            continue
        if block.name == "brief":
            assert (folder / "mybook.yaml").is_file()
            (folder / "mybook.yaml").write_text(
                QUICKSTART.replace("builtin:python-docs", "mybook.txt")
            )
        written = run(block, folder)
        assert written.strip(), block.code
        if block.name == "small":
            answers.append(set(re.findall(r"\b[0-9a-f]{12}\b", written)))
    assert len(answers) == 2
    assert answers[0]
    assert answers[0] == answers[1], "two ways, one answer; four are in test_examples"


@pytest.mark.slow  # TensorFlow alone takes seconds to import
def test_keras_block(tmp_path):
    need_module("tensorflow", 'pip install "transformer-nas[tensorflow]"')
    spec = nas.TaskSpec(task="language_modeling", head="causal_lm", vocab_size=257, context=32)
    shape = nas.architecture("llama", n_layer=1, d_model=16, n_head=2, d_ff=32)
    nas.save(nas.build(shape, spec), tmp_path / "winner")
    [block] = [block for block in BLOCKS if block.kind == "keras"]
    assert "loss" in run(block, tmp_path)
    assert (tmp_path / "winner.keras").is_file()
    assert (tmp_path / "winner_saved_model").is_dir()


def test_every_python_and_yaml_block_is_tested():
    fences = re.findall(r"^```(python|yaml|sql)$", README, re.MULTILINE)
    assert fences
    assert len(fences) == sum(block.language != "sh" for block in BLOCKS)


@pytest.mark.parametrize("extra", ["", ".[test]"])
def test_first_screen_has_commands_that_do_all_the_setup(extra):
    first_screen = "\n".join(README.splitlines()[:24])
    install = f'install -q -e "{extra}"' if extra else "install -q -e . "
    assert f"python3 -m venv .venv && .venv/bin/pip {install}" in first_screen


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -m1 -oE -- '([^']*)' README\.md", script)
    found = re.search(pattern[1], README)
    assert found[0].startswith('-m pytest -q -n 2 -m "not slow"')


def test_table_of_layers_is_the_one_that_is_held():
    table = README[README.index("| in `nas/` | |") :]
    rows = re.findall(r"^\| ((?:`\w+` )+)\|", table, re.MULTILINE)
    assert [set(re.findall(r"\w+", row)) for row in rows] == list(LAYERS)


def test_files_and_links_that_the_readme_names_exist():
    named = re.findall(r"`((?:examples|tests|nas|\.ci)/[\w./]+)`", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
