"""Code outside nas is imported only where the user named it himself or said that it is trusted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FAMILY, TASK, STRATEGY = "planted:Shape", "planted:Task", "planted:Strategy"
# The module leaves a mark when it is imported, whoever does it.
MODULE = """
from pathlib import Path

Path("imported").touch()

from nas.families.gpt2.shape import Gpt2Shape
from nas.strategies.random import RandomStrategy as Strategy
from nas.tasks.language_modeling import LanguageModeling


class Shape(Gpt2Shape):
    family = "planted:Shape"


class Task(LanguageModeling):
    name = "planted:Task"
"""
SPACE = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"d_model": 16, "n_head": 2, "n_layer": 1},
    "dimensions": {"d_ff": {"choices": [16, 32]}},
}
STUDY = {
    "format_version": 1,
    "space": SPACE,
    "task": {"name": "language_modeling", "data": "text.txt"},
    "recipe": {"context": 16, "batch": 4, "precision": "fp32"},
    "per_candidate": {"tokens": 640},
    "finalists": {"top": 0},
    "stop": {"candidates": 1},
    "strategy": "random",
    "executor": "inline",
    "device": "cpu",
}
REFUSED = "is code outside nas, which would be imported and run; if you know where it comes from"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a module, a text and study files that name the module's classes."""
    (tmp_path / "planted.py").write_text(MODULE)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    own_space = {**SPACE, "family": FAMILY}
    files = {
        "family": {**STUDY, "space": own_space},
        "file": {**STUDY, "space": "own_space.yaml"},
        "task": {**STUDY, "task": {**STUDY["task"], "name": TASK}},
        "strategy": {**STUDY, "strategy": STRATEGY},
        "plain": STUDY,
        "own_space": own_space,
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


COMMANDS = """
import contextlib
import io
import json
import sys
from pathlib import Path
from nas.cli import main
for command in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(command)
    print(json.dumps([status, said.getvalue(), Path("imported").exists()]))
"""


def statuses(place: Path, *commands: str) -> list[tuple[int, str, bool]]:
    """Run commands one after another in one process: status, errors, and whether it was imported.

    What one allows stays allowed in the process.
    """
    import json

    done = run(place, "-c", COMMANDS, json.dumps([one.split() for one in commands]))
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_files_name_no_code_without_trust(place: Path) -> None:
    keys = {
        "search family.yaml": "family.yaml: space.family",
        "search file.yaml": "own_space.yaml: family",
        "search task.yaml": "task.yaml: task.name",
        "search strategy.yaml": "strategy.yaml: strategy",
        "search strategy.yaml --dry-run": "strategy.yaml: strategy",
        "search plain.yaml --space own_space.yaml": "own_space.yaml: family",
        "spaces own_space.yaml": "own_space.yaml: family",
        "profile --space own_space.yaml": "own_space.yaml: family",
    }
    for command, found in zip(keys, statuses(place, *keys), strict=True):
        status, said, imported = found
        assert (status, imported) == (2, False), command
        assert said.count("\n") == 1
        assert f"{keys[command]}: 'planted:" in said
        assert REFUSED in said
        assert said.rstrip().endswith("add --trust (in Python trust=True)")
    assert not list(place.glob("studies/*"))


@pytest.mark.slow
def test_what_the_user_names_needs_no_trust(place: Path) -> None:
    [[status, said, imported]] = statuses(place, f"search plain.yaml --strategy {STRATEGY}")
    assert (status, said, imported) == (0, "", True)


PYTHON = """
import nas
from nas.config import load_config
from nas.errors import UntrustedError
for arguments in (
    {"study": "task.yaml"},
    {"study": "plain.yaml", "overrides": {"space": "own_space.yaml"}},
):
    try:
        nas.search(**arguments)
    except UntrustedError as error:
        print(error)
nas.search("plain.yaml", overrides={"strategy": "planted:Strategy"})
nas.search("task.yaml", trust=True)
"""


def test_python_says_trust_with_the_same_word(place: Path) -> None:
    done = run(place, "-c", PYTHON)
    assert done.returncode == 0, done.stderr
    task, space = done.stdout.splitlines()
    assert task.startswith(f"task.yaml: task.name: '{TASK}' {REFUSED}")
    assert space.startswith(f"own_space.yaml: family: '{FAMILY}' {REFUSED}")


@pytest.mark.slow
def test_stored_study_is_content_too(place: Path) -> None:
    assert run(place, "-m", "nas", "search", "family.yaml", "--trust").returncode == 0
    (place / "imported").unlink()
    (place / "family.yaml").unlink()
    refused = {
        "search family --candidates 2": "study 'family' with stop.candidates set: space.family",
        "search family --dry-run": "study 'family': space.family",
        "enqueue family d_ff=32": "study 'family': space.family",
        "train family --set d_ff=32": "study 'family': space.family",
        "train family --candidate 0": "study 'family': space.family",
        "profile family": "study 'family': space.family",
    }
    for command, found in zip(refused, statuses(place, *refused), strict=True):
        status, said, imported = found
        assert (status, imported) == (2, False), command
        assert f"{refused[command]}: '{FAMILY}' {REFUSED}" in said
    [[status, said, imported]] = statuses(place, "predict family x")
    assert (status, imported) == (2, False)
    assert "is code outside nas" in said
    [[status, said, imported]] = statuses(place, "search family --candidates 2 --trust")
    assert (status, said, imported) == (0, "", True)


@pytest.mark.slow
def test_looking_and_deleting_import_nothing(place: Path) -> None:
    assert run(place, "-m", "nas", "search", "family.yaml", "--trust").returncode == 0
    (place / "imported").unlink()
    commands = ("trials family", "best family", "show family", "trials family --format json",
                "rm family --yes")  # fmt: skip
    assert statuses(place, *commands) == [(0, "", False)] * len(commands)
    assert not (place / "studies" / "family").exists()


@pytest.mark.slow
def test_altered_database_names_no_code(place: Path) -> None:
    """A study of a family of ours, in which somebody wrote another family to a row."""
    import sqlite3

    assert run(place, "-m", "nas", "search", "plain.yaml").returncode == 0
    with sqlite3.connect(place / "studies" / "plain" / "study.db") as database:
        database.execute("UPDATE nas_architecture SET family = ?", [FAMILY])
        database.execute("UPDATE nas_candidate SET state = 'interrupted'")
        altered = "UPDATE nas_study SET task_spec = json_set(task_spec, '$.task', ?)"
        database.execute(altered, [TASK])
    database.close()
    found = statuses(place, "search plain.yaml --candidates 2", "train plain --candidate 0",
                     "trials plain")  # fmt: skip
    assert [(status, imported) for status, _, imported in found] == [
        (1, False), (2, False), (0, False)
    ]  # fmt: skip
    words = "is of family 'planted:Shape', the study of 'llama': the database was altered"
    assert words in found[0][1]
    [[status, said, imported]] = statuses(place, "train plain --set d_ff=32")
    assert (status, imported) == (2, False)
    assert f"study 'plain': task: '{TASK}' {REFUSED}" in said


@pytest.mark.slow
def test_task_of_a_model_folder_is_not_imported(place: Path) -> None:
    """Its family is ours and its task is not, which fine-tuning would ask."""
    assert run(place, "-m", "nas", "search", "plain.yaml").returncode == 0
    [manifest] = place.glob("studies/plain/models/*/nas.json")
    text = manifest.read_text()
    assert text.count('"task": "language_modeling"') == 1
    manifest.write_text(text.replace('"task": "language_modeling"', f'"task": "{TASK}"'))
    folder = manifest.parent.relative_to(place)
    [[status, said, imported]] = statuses(
        place, f"finetune {folder} --data text.txt --out tuned --tokens 640"
    )
    assert (status, imported) == (2, False)
    assert f"task: '{TASK}' {REFUSED}" in said
    [[status, said, imported]] = statuses(
        place, f"finetune {folder} --data text.txt --out tuned --tokens 640 --trust"
    )
    assert (status, imported) == (0, True), said
