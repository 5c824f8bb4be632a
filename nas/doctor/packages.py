"""Python and packages: versions against what is supported, by what the distribution asks for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nas.doctor.finding import BAD, MISSING, NOTE, OK, Finding

DISTRIBUTION = "transformer-nas"
PYTHONS = ">=3.11,<3.14"  # where neither a checkout nor an installation says
DEVELOPMENT = frozenset({"test", "dev"})  # extras of those who change nas
IMPORT_SECONDS = 60

# What is imported of a distribution that is called otherwise.
MODULES = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
    "transformer-nas": "nas",
    "mlflow-skinny": "mlflow",
}
# What each extra is for.
PURPOSES = {
    "gp": "strategy gp",
    "hf": "winners opened in transformers, exports to it",
    "onnx": "exports to ONNX",
    "vision": "pictures as data, builtin:digits",
    "ray": "searches on a Ray cluster",
    "postgresql": "studies on a PostgreSQL server",
    "tensorflow": "exports to TensorFlow and Keras",
    "report": "reports with plots",
    "images": "plots as PNG files",
    "dashboard": "nas dashboard",
    "tensorboard": "logs for TensorBoard",
    "mlflow": "logs for MLflow",
}
# Browsers that plots can be turned to pictures with.
BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge",
    "microsoft-edge",
)  # fmt: skip
BROWSER_FILES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


def python() -> list[Finding]:
    """Compare Python's version with what is supported."""
    found = f"{platform.python_version()} ({sys.executable})"
    wanted = SpecifierSet(_project().get("requires-python", PYTHONS))
    if wanted.contains(platform.python_version(), prereleases=True):
        return [Finding(name="Python", state=OK, found=found)]
    return [
        Finding(
            name="Python",
            state=BAD,
            found=found,
            advice=f"nas needs Python {wanted}: make a virtual environment with one",
        )
    ]


def required() -> list[Finding]:
    """Compare the packages that every search needs with what is supported."""
    wanted = requirements().get("", [])
    problems = {one.name: text for one in wanted if (text := _problem(one))}
    if not problems:
        shown = ", ".join(f"{one.name} {version(one.name)}" for one in wanted[:4])
        more = f" and {len(wanted) - 4} more" if len(wanted) > 4 else ""
        return [Finding(name="packages", state=OK, found=f"{shown}{more}")]
    lines = " ".join(f'"{one}"' for one in wanted if one.name in problems)
    return [
        Finding(
            name="packages",
            state=BAD,
            found="; ".join(f"{name}: {text}" for name, text in problems.items()),
            advice=f"pip install {lines}",
        )
    ]


def extras() -> list[Finding]:
    """Say which extras are installed, and how the others are."""
    return [
        _extra(name, wanted)
        for name, wanted in requirements().items()
        if name and name not in DEVELOPMENT
    ]


def _extra(name: str, wanted: list[Requirement]) -> Finding:
    purpose = PURPOSES.get(name, "")
    install = f'pip install "{DISTRIBUTION}[{name}]"'
    there = [one for one in wanted if _version(one.name) is not None]
    problems = [f"{one.name}: {text}" for one in wanted if (text := _problem(one))]
    if not problems:
        found = ", ".join(f"{one.name} {version(one.name)}" for one in wanted)
        return Finding(name=f"extra {name}", state=OK, found=found)
    if not there:
        return Finding(
            name=f"extra {name}",
            state=MISSING,
            found=f"not installed{': ' if purpose else ''}{purpose}",
            advice=install,
        )
    return Finding(name=f"extra {name}", state=NOTE, found="; ".join(problems), advice=install)


def browser() -> list[Finding]:
    """Look for a browser that plots are turned to pictures with."""
    own = os.environ.get("BROWSER_PATH", "")
    places = [own, *(shutil.which(name) or "" for name in BROWSERS), *BROWSER_FILES]
    path = next((one for one in places if one and Path(one).is_file()), None)
    if path is not None:
        return [Finding(name="browser", state=OK, found=path)]
    return [
        Finding(
            name="browser",
            state=MISSING,
            found="no Chrome or Chromium: only PNG files of plots need one",
            advice="install Chromium or Chrome, or set BROWSER_PATH to its program",
        )
    ]


def imports() -> list[Finding]:
    """Import each package, required or optional, in a process of its own."""
    names = [one.name for wanted in requirements().values() for one in wanted]
    there = [name for name in dict.fromkeys(names) if _version(name) is not None]
    return [_imported(name) for name in there if find_spec(_module(name)) is not None]


def _imported(name: str) -> Finding:
    command = [sys.executable, "-c", f"import {_module(name)}"]
    try:
        done = subprocess.run(  # noqa: S603  # our own Python and a name from our own metadata
            command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(
            name=f"import {name}",
            state=NOTE,
            found=f"took longer than {IMPORT_SECONDS} s",
            advice=f"pip install --force-reinstall {name}",
        )
    if done.returncode == 0:
        return Finding(name=f"import {name}", state=OK, found="works")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return Finding(
        name=f"import {name}",
        state=NOTE,
        found=lines[-1].strip()[:300] if lines else f"ended with {done.returncode}",
        advice=f"pip install --force-reinstall {name}",
    )


@cache
def requirements() -> Mapping[str, list[Requirement]]:
    """Return what nas needs, under `""`, and what each extra adds, as far as it is for here."""
    project = _project()
    found: dict[str, list[Requirement]] = defaultdict(list)
    if project:
        lists = {"": project["dependencies"], **project.get("optional-dependencies", {})}
        for extra, texts in lists.items():
            found[extra] += _for_here(texts, extra)
        return dict(found)
    for one in map(Requirement, requires(DISTRIBUTION) or ()):
        for extra in _extras_of(one):
            found[extra] += _for_here([str(one)], extra)
    return dict(found)


def _extras_of(one: Requirement) -> list[str]:
    """Return the extra that a line of the metadata is for."""
    if one.marker is None or "extra" not in str(one.marker):
        return [""]
    return [str(one.marker).partition('extra == "')[2].partition('"')[0]]


def _for_here(texts: list[str], extra: str) -> list[Requirement]:
    wanted = [Requirement(text) for text in texts]
    return [
        one
        for one in wanted
        if one.name != DISTRIBUTION
        and (one.marker is None or one.marker.evaluate({"extra": extra}))
    ]


@cache
def _project() -> Mapping[str, Any]:
    """Return the `[project]` of the checkout that nas runs from; empty for an installed one."""
    file = Path(__file__).parents[2] / "pyproject.toml"
    if not file.is_file():
        return {}
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    return project if project.get("name") == DISTRIBUTION else {}


def _problem(one: Requirement) -> str:
    """Return what is wrong with a package; nothing if its version is a supported one."""
    found = _version(one.name)
    if found is None:
        return "not installed"
    if not one.specifier.contains(found, prereleases=True):
        return f"{found} is installed, {one.specifier} is supported"
    if find_spec(_module(one.name)) is None:
        return f"{found} is installed, and its files are gone"
    return ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _module(name: str) -> str:
    return MODULES.get(name.lower(), name.lower().replace("-", "_"))
