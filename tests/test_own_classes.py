"""A user's own family, task and strategy, `package.module:Name`, work as the built-in ones do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nas.errors import NotFoundError
from nas.families import FAMILIES
from nas.plugins import allow, resolve

MODULE = '''
"""A family, a task and a strategy that stand outside nas."""

from dataclasses import dataclass, replace
from typing import ClassVar

from nas.families.gpt2.module import Gpt2
from nas.families.gpt2.shape import Gpt2Shape
from nas.strategies.random import RandomStrategy
from nas.tasks.language_modeling import LanguageModeling


@dataclass(frozen=True, kw_only=True, slots=True)
class LoudShape(Gpt2Shape):
    """GPT-2 blocks whose logits are doubled."""

    family: ClassVar[str] = "own:LoudShape"
    module: ClassVar[str] = "own:Loud"

    def native_config(self, spec):
        return None

    def uniform(self):
        return self


class Loud(Gpt2):
    def forward(self, ids_BT):
        return 2 * super().forward(ids_BT)


class Backwards(LanguageModeling):
    """Predicts text from its end."""

    name = "own:Backwards"

    def batch(self, step):
        return super().batch(step)[:, ::-1].copy()


class Deepest(RandomStrategy):
    """Draws until a shape has two layers."""

    def propose(self, history, number):
        while (drawn := super().propose(history, number)).shape["n_layer"] != 2:
            number += 1000
        return drawn
'''
STUDY = {
    "format_version": 1,
    "space": {
        "format_version": 1,
        "family": "own:LoudShape",
        "fixed": {"d_model": 16, "n_head": 2},
        "dimensions": {"n_layer": {"choices": [1, 2]}, "d_ff": {"choices": [16, 32]}},
        "reference": {"n_layer": 1, "d_model": 16, "n_head": 2, "d_ff": 16},
    },
    "task": {"name": "own:Backwards", "data": "text.txt"},
    "recipe": {"context": 16, "batch": 4},
    "per_candidate": {"tokens": 640},
    "finalists": {"top": 1, "seeds": 1},
    "stop": {"candidates": 2},
    "strategy": "own:Deepest",
    "executor": "processes",
    "workers": 1,
}
LOAD = """
import importlib
import os
import nas
try:
    nas.load("mine")
except nas.NasError as error:
    print(error)
os.rename("own.py", "other.py")
try:
    nas.load("mine", trust=True)
except nas.NasError as error:
    print(error)
os.rename("other.py", "own.py")
importlib.invalidate_caches()
model = nas.load("mine", trust=True, verify=True)
print(type(model.network).__name__, model.task_spec.task)
print([row.shape["n_layer"] for row in nas.open_study("mine").trials(role="search", sort="number")])
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_own_family_and_task_are_searched_stored_and_loaded_with_trust(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    search = run(tmp_path, "-m", "nas", "search", "mine.yaml", "--trust", "--quiet")
    assert search.returncode == 0, search.stderr
    loaded = run(tmp_path, "-c", LOAD)
    assert loaded.returncode == 0, loaded.stderr
    refused, missing, found, depths = loaded.stdout.splitlines()
    assert refused.count("models") == 1, "the folder is named once"
    assert ": its family 'own:LoudShape' is code outside nas" in refused
    assert refused.endswith("load it with trust=True")
    assert ": its family 'own:LoudShape': no module 'own' in " in missing
    assert missing.endswith("start nas in the folder that holds it, or install it")
    assert found == "Loud own:Backwards"
    assert depths == "[1, 2]", "the reference, then the strategy's"
    shown = run(tmp_path, "-m", "nas", "trials", "mine")
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at_all:Shape", r"no module 'nowhere'"),
        ("json:Nothing", r"module 'json' has no 'Nothing'"),
        ("json:", r"expected package\.module:Name"),
        ("os;x:y", r"expected package\.module:Name"),
        ("lama", r"unknown family 'lama'.*package\.module:Name; did you mean 'llama'"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name: str, message: str) -> None:
    allow([name])
    with pytest.raises(NotFoundError, match=message):
        resolve(FAMILIES, name, what="family")
