"""A module imports only from layers above its own, and what starts first loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nas"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# The README's table, top row first.
LAYERS = (
    {"errors"},
    {"device", "plugins", "records", "shipped", "wording", "yaml_strict"},
    {"families", "data", "decoding"},
    {"tasks", "artifact", "generation", "inputs", "loggers", "measure"},
    {"space", "training", "store", "predicting"},
    {"config", "finals", "worker", "strategies"},
    {"executors", "model", "keras", "places"},
    {"schemas", "study"},
    {"loading"},
    {"exporters", "report"},
    {"driver", "finetuning"},
    {"doctor", "proposal"},
    {"cli"},
    {"nas", "__main__"},  # public names, each imported when it is first used; `python -m nas`
)
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}


def part_of(module):
    """Return the part that a module belongs to: `nas.data.sources` to `data`, `nas` to `nas`."""
    return module.split(".")[:2][-1]


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write relative imports in full"
            inside = [f"nas.{alias.name}" for alias in node.names]
            yield from inside if node.module == "nas" else [node.module]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_module_imports_only_from_layers_above(file):
    own = part_of(".".join(("nas", *file.with_suffix("").parts)).removesuffix(".__init__"))
    names = imports_of(PACKAGE / file)
    imported = {part_of(name) for name in names if name.split(".")[0] == "nas"}
    assert {part for part in imported - {own} if LAYER[part] >= LAYER[own]} == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nas", {"torch", "optuna", "sqlalchemy", "numpy", "yaml"}),
        ("nas.cli", {"torch", "optuna", "sqlalchemy", "numpy"}),
        ("nas.study", {"torch", "optuna", "transformers"}),
        ("nas.driver", {"torch", "transformers"}),
        ("nas.exporters", {"torch", "optuna", "sqlalchemy", "numpy", "transformers", "onnx"}),
    ],
)
def test_import_loads_nothing_heavy(module, absent):
    code = f"import sys, {module}; print(*{absent}.intersection(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
