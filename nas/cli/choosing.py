"""Which study is meant: STUDY on the command line, and the settings that a search begins with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.errors import ConfigError, InputError, NotFoundError

if TYPE_CHECKING:
    from nas.config import StudyConfig
    from nas.study import Study

QUICKSTART = "quickstart"

StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]",
        help="A database URL (...#name), a study's folder, or the name of one in ./studies; "
        "the newest one there if left out.",
        show_default=False,
    ),
]


def find_study(text: str | None) -> tuple[Study, str]:
    """Return a stored study and, in words, which one was taken.

    Raises:
        NotFoundError: If there is none.
    """
    from nas.study import newest_study, open_study, studies_folder

    if text is None:
        study = newest_study()
        return study, f"study {study.name}, the newest in {studies_folder()}"
    study = open_study(text)
    if "://" in text:
        return study, f"study {study.name} of the database"
    return study, f"study {study.name} in {shown_path(study.folder)}"


def shown_path(path: Path) -> str:
    """Return a path relative to where we are, if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def study_name(study: Study) -> str:
    """Return what commands and `nas.load` find a study by."""
    from nas.study import studies_folder

    usual = studies_folder().absolute() / study.name
    return study.name if study.folder == usual else shown_path(study.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a search is asked to do, and in words where that was found."""

    config: StudyConfig
    how: str


def find_settings(
    text: str | None, *, name: str | None, overrides: Mapping[str, Any], fresh: bool
) -> Settings:
    """Return the settings of a search.

    A study that exists goes on by what it stored, unless a file in the studies folder has its
    name. A new one (another name, other data, or afresh) begins by a study file if there is one.

    Args:
        text: STUDY as given; None: the shipped quickstart.
        name: What the study is to be called.
        overrides: Values for dotted keys.
        fresh: Whether an existing study is moved aside.

    Raises:
        InputError: If there is no such study, or a setting is wrong.
    """
    from nas.config import find_study_file
    from nas.driver import configure

    wanted = text or QUICKSTART
    _check_not_a_url(wanted)
    stored, own_file, shipped = _stored(wanted), _own_file(wanted), _is_shipped(wanted)
    data = overrides.get("task.data")
    if name is None and data is not None and shipped and not own_file:
        name = name_from_data(str(data))
    goes_on = name is None and not fresh
    if stored is not None and not own_file and (goes_on or not shipped):
        return _stored_settings(stored, name, overrides)
    file = find_study_file(wanted)
    how = "shipped study file" if shipped and not own_file else "study file"
    config = configure(wanted, name=name, overrides=overrides)
    return Settings(config=config, how=f"study {config.name} by the {how} {shown_path(file)}")


def name_from_data(data: str) -> str:
    """Return what a study of one's own data is called: the data's name without suffixes."""
    last = data.removeprefix("builtin:") if data.startswith("builtin:") else _last(data)
    stem = last.lstrip(".").partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:100] or "data"


def _last(path: str) -> str:
    return Path(path).expanduser().absolute().resolve().name


def _check_not_a_url(text: str) -> None:
    if "://" in text:
        raise InputError(
            f"search: got the database URL '{text.partition('://')[0]}://...'; a search keeps its "
            "own database in its folder: give a study file, a name, or --name"
        )


def _stored(text: str) -> Study | None:
    """Return the study that a search may go on with, None if there is none.

    Raises:
        InputError: If it lies where no search writes.
    """
    from nas.study import open_study, studies_folder

    if Path(text).suffix in (".yaml", ".yml"):
        return None
    try:
        study = open_study(text)
    except NotFoundError:
        return None
    folder = study.folder.resolve()
    if folder.parent != studies_folder().resolve():
        raise InputError(
            f"{text}: a search goes on only in {studies_folder()}; "
            f"set NAS_STUDIES={folder.parent} to go on there"
        )
    if folder.name != study.name:
        raise InputError(
            f"{text}: holds study '{study.name}', which was moved aside; "
            f"to go on with it, rename the folder to {folder.with_name(study.name)}"
        )
    return study


def _own_file(text: str) -> bool:
    """Say whether the user has a study file of this path or name."""
    from nas.study import studies_folder

    return Path(text).suffix in (".yaml", ".yml") or (studies_folder() / f"{text}.yaml").is_file()


def _is_shipped(text: str) -> bool:
    from nas.shipped import shipped_names

    return text in shipped_names("studies")


def _stored_settings(study: Study, name: str | None, overrides: Mapping[str, Any]) -> Settings:
    from nas.config import config_from_plain
    from nas.executors import EXECUTORS
    from nas.strategies import STRATEGIES

    where = f"study '{study.name}'"
    config = config_from_plain(
        _overridden(study.config, overrides, where),
        where=f"{where} with {', '.join(overrides)} set" if overrides else where,
        name=name or study.name,
        strategies=STRATEGIES,
        executors=EXECUTORS,
    )
    return Settings(config=config, how=f"study {config.name} by the settings that {where} stored")


def _overridden(
    plain: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return stored settings with the values at dotted keys replaced."""
    changed = dict(plain)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        inner = changed
        for parent in parents:
            below = inner.get(parent) or {}
            if not isinstance(below, Mapping):
                raise ConfigError(f"{where}: {parent}: got {below!r}, which has no '{last}' to set")
            inner[parent] = dict(below)
            inner = inner[parent]
        inner[last] = value
    return changed
