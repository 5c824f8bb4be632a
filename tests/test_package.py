"""What is installed: the wheel holds the package with its YAML, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nas.shipped import KINDS, shipped_folder, shipped_names

ROOT = Path(__file__).parents[1]
PARTS = ("nas", "search_spaces", "studies", "tests")
FILES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the checkout in which a search has run."""
    copy = tmp_path_factory.mktemp("package") / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, copy / file)
    (copy / "studies" / "mine").mkdir()
    (copy / "studies" / "mine" / "study.db").write_text("a database")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(copy / "dist")]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))


def test_wheel_holds_every_module_and_the_marker_of_types(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nas").rglob("*.py")}
    assert modules | {"nas/py.typed"} <= held


def test_wheel_holds_what_the_report_is_made_of(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    assets = (ROOT / "nas" / "report" / "assets").iterdir()
    assert {path.relative_to(ROOT).as_posix() for path in assets} <= held


@pytest.mark.parametrize("kind", KINDS)
def test_wheel_holds_the_yaml_of_the_checkout(wheel, kind):
    held = zipfile.ZipFile(wheel).namelist()
    shipped = {name.rpartition("/")[2] for name in held if f"nas/shipped/{kind}/" in name}
    assert shipped == {path.name for path in (ROOT / kind).glob("*.yaml")}


def test_wheel_holds_no_tests_and_no_searches(wheel):
    held = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nas"}
    assert not [name for name in held if name.endswith(".db")]


def test_unpacked_wheel_finds_what_it_ships(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from nas.shipped import *; print(shipped_folder('studies'), *shipped_names('studies'))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    folder, *names = run.stdout.split()
    assert Path(folder) == tmp_path / "nas" / "shipped" / "studies"
    assert names == shipped_names("studies")


@pytest.mark.parametrize("kind", KINDS)
def test_checkout_finds_what_it_ships_at_its_top(kind):
    assert shipped_folder(kind) == ROOT / kind
    assert shipped_names(kind) == sorted(path.stem for path in (ROOT / kind).glob("*.yaml"))
