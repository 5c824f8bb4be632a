"""Find and read a study file, with what the command line sets on top of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nas.config.code import allow_given
from nas.config.parse import check_study_name, config_from_plain
from nas.config.records import StudyConfig
from nas.data.sources import find_source, is_there
from nas.errors import ConfigError, InputError, NotFoundError, nearest
from nas.shipped import shipped_folder, shipped_names
from nas.yaml_strict import load_yaml, load_yaml_text

KIND = "studies"


def studies_folder() -> Path:
    """Return the folder of the user's studies: `./studies`, or what `NAS_STUDIES` says."""
    return Path(os.environ.get("NAS_STUDIES") or KIND)


def find_study_file(study: str | Path) -> Path:
    """Return the study file of a path, of NAME in `studies_folder()`, or of a shipped NAME.

    Raises:
        NotFoundError: If there is no study file of that name; a path is not looked at.
        InputError: If the name is none.
    """
    given = str(study)
    if Path(given).name != given or Path(given).suffix in (".yaml", ".yml"):
        return Path(given)
    file = f"{check_study_name(given)}.yaml"
    own, shipped = studies_folder(), shipped_folder(KIND)
    for path in (own / file, shipped / file):
        if path.is_file():
            return path
    known = sorted({*shipped_names(KIND), *(path.stem for path in own.glob("*.yaml"))})
    raise NotFoundError(
        f"no study file '{given}': neither {own / file} nor one of {', '.join(known)}"
        f"{nearest(given, known)}"
    )


def load_config(
    study: str | Path,
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    strategies: Collection[str] | None = None,
    executors: Collection[str] | None = None,
    trust: bool = False,
) -> StudyConfig:
    """Read a study file.

    Args:
        study: A path, the NAME of `./studies/NAME.yaml`, or a shipped NAME.
        name: What the study is called; the file's name if left out.
        overrides: Values for dotted keys, such as `{"stop.minutes": 5}` (see `parse_set`). Code
            that they name is the user's own word.
        strategies: The strategies there are; any name is taken if left out.
        executors: The executors there are; any name is taken if left out.
        trust: Whether code outside nas that the file names may be imported and run.

    Raises:
        ConfigError: If the file or an override is wrong.
        InputError: If there is no such study file, or a study cannot be called so.
        UntrustedError: If the file names code that nobody has vouched for.
    """
    allow_given(overrides or {})
    path = find_study_file(study)
    plain = _found_beside(load_yaml(path), path.parent)
    where = str(path)
    for key, value in (overrides or {}).items():
        plain = with_key(plain, key, value, where)
    if overrides:
        where += f" with {', '.join(overrides)} set"
    return config_from_plain(
        plain,
        where=where,
        name=path.stem if name is None else name,
        strategies=strategies,
        executors=executors,
        trust=trust,
    )


def parse_set(text: str) -> tuple[str, Any]:
    """Return key and value of `KEY=VALUE`, the value read as in a study file.

    Raises:
        InputError: If it has no key or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set: got '{text}', expected KEY=VALUE such as stop.minutes=5")
    return key, load_yaml_text(f"value: {value}", f"--set {key}")["value"]


def _found_beside(plain: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the content with what lies beside the study file, as space or data, given as paths."""
    found = dict(plain)
    space, task, reference = plain.get("space"), plain.get("task"), plain.get("reference")
    if isinstance(space, str) and is_there(folder / space) and (folder / space).is_file():
        found["space"] = str(folder / space)
    if isinstance(reference, str) and is_there(folder / reference):
        found["reference"] = str(folder / reference)
    if isinstance(task, Mapping):
        found["task"] = {**task}
        if "data" in task:
            found["task"]["data"] = _beside(task["data"], folder)
    return found


def _beside(data: Any, folder: Path) -> Any:
    if isinstance(data, Mapping):
        return {name: _beside(source, folder) for name, source in data.items()}
    return find_source(data, beside=folder) if isinstance(data, str) else data


def with_key(plain: Mapping[str, Any], key: str, value: Any, where: str) -> dict[str, Any]:
    """Return plain content with the value at a dotted key replaced or added.

    Raises:
        ConfigError: If something on the way to the key is no mapping.
    """
    *parents, last = key.split(".")
    changed = inner = dict(plain)
    for depth, parent in enumerate(parents, start=1):
        below = inner.get(parent, {})
        if not isinstance(below, Mapping):
            path = ".".join(parents[:depth])
            raise ConfigError(f"{where}: {path}: got {below!r}, which has no '{last}' to set")
        inner[parent] = dict(below)
        inner = inner[parent]
    inner[last] = value
    return changed
