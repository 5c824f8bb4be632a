"""A real study, searched once, and a way to run the command line in this process."""

import shutil
from dataclasses import dataclass

import pytest

from nas.cli import main

STUDY_FILE = """\
format_version: 1
space:
  format_version: 1
  family: llama
  fixed: {head_dim: 8, n_head: 2}
  dimensions:
    n_layer: {min: 1, max: 2}
    d_model: {choices: [16, 24]}
    d_ff: {min: 16, max: 48, step: 16}
  reference: {n_layer: 1, d_model: 16, n_head: 2, head_dim: 8, d_ff: 32}
task: {name: language_modeling, data: notes.txt}
recipe: {context: 16, batch: 8, precision: fp32}
per_candidate: {tokens: 4096, eta: 1}
finalists: {top: 1, seeds: 2}
stop: {candidates: 3}
strategy: random
executor: inline
device: cpu
keep: 1
"""


@dataclass
class Result:
    code: int
    out: str
    err: str


def make_place(folder):
    """Fill a folder with a study file and its data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(STUDY_FILE)
    lines = (
        f"line {i}: {i * i} is the square of {i}, {i % 7} days into a week\n" for i in range(400)
    )
    (folder / "notes.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A place where `nas search tiny.yaml` has run."""
    folder = make_place(tmp_path_factory.mktemp("searched"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("NAS_STUDIES", raising=False)
        assert main(["search", "tiny.yaml", "--quiet"]) == 0
    return folder


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    for name in ("NAS_STUDIES", "NAS_DEBUG", "NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def place(searched, monkeypatch):
    """The searched place as working directory; for questions that change nothing."""
    monkeypatch.chdir(searched)
    return searched


@pytest.fixture
def own_place(searched, tmp_path, monkeypatch):
    """A copy of the searched place, to be changed at will."""
    folder = tmp_path / "own"
    shutil.copytree(searched, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def empty_place(tmp_path, monkeypatch):
    """A study file and data, nothing searched yet."""
    folder = make_place(tmp_path / "empty")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def nas(capsys):
    """Run a command line in this process."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        found = capsys.readouterr()
        return Result(code, found.out, found.err)

    return run
