"""The settings that a search begins or goes on with, and where they were found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config import (
    StudyConfig,
    allow_given,
    config_from_plain,
    find_study_file,
    load_config,
    with_key,
)
from nas.config.parse import DEVICES
from nas.errors import InputError, NotFoundError
from nas.executors import EXECUTORS
from nas.shipped import shipped_names
from nas.strategies import STRATEGIES
from nas.study import Study, open_study, studies_folder

QUICKSTART = "quickstart"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a search is asked to do, and in words where that was found."""

    config: StudyConfig
    how: str


def find_settings(
    study: str | None,
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    database: str | None = None,
    trust: bool = False,
) -> Settings:
    """Return the settings of a search.

    A study that exists goes on by what it stored, unless a file in the studies folder has its
    name. A new one (another name, other data, or afresh) begins by a study file if there is one.

    Args:
        study: A study file's path, the name of one in the studies folder or of a shipped one, or
            of a stored study; None: the shipped study of the task that `overrides` name, or
            quickstart.
        name: What the study is to be called.
        overrides: Values for dotted keys. Code that they name is the user's own word.
        fresh: Whether an existing study is moved aside.
        database: The URL of the server that a stored study is on, with its secrets.
        trust: Whether code outside nas that the file or the stored study names may be imported.

    Raises:
        InputError: If there is no such study, or a setting is wrong.
        UntrustedError: If code is named that nobody has vouched for.
    """
    overrides = overrides or {}
    allow_given(overrides)
    wanted = study or _shipped_for(overrides.get("task.name"))
    _check_not_a_url(wanted)
    own_file, shipped = _own_file(wanted), _is_shipped(wanted)
    # Afresh by a study file the old study is not asked: its database may be beyond reading.
    stored = None if fresh and (own_file or shipped) else _stored(wanted, database)
    data = overrides.get("task.data")
    if name is None and data is not None and shipped and not own_file:
        name = name_from_data(str(data))
    goes_on = name is None and not fresh
    if stored is not None and not own_file and (goes_on or not shipped):
        return _stored_settings(stored, name, overrides, trust=trust)
    file = find_study_file(wanted)
    how = f"shipped {file.name}" if shipped and not own_file else str(file)
    config = load_config(
        wanted,
        name=name,
        overrides=overrides,
        strategies=STRATEGIES,
        executors=EXECUTORS,
        trust=trust,
    )
    return Settings(config=config, how=f"study {config.name} by the study file {how}")


def _shipped_for(task: str | None) -> str:
    """Return the shipped study of a task; of language modelling, or one unknown, quickstart."""
    if task is not None:
        for name in shipped_names("studies"):
            if load_config(name).task.name == task:
                return name
    return QUICKSTART


def name_from_data(data: str) -> str:
    """Return what a study of one's own data is called: the data's name without suffixes."""
    last = data.removeprefix("builtin:") if data.startswith("builtin:") else _last(data)
    stem = last.lstrip(".").partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:100] or "data"
    return f"{name}-data" if name.lower() in DEVICES else name


def _last(path: str) -> str:
    return Path(path).expanduser().absolute().resolve().name


def _check_not_a_url(text: str) -> None:
    if "://" in text:
        raise InputError(
            f"search: got the database URL '{text.partition('://')[0]}://...'; give a study file "
            "or a name, and --database for where a new study is kept"
        )


def _stored(text: str, database: str | None) -> Study | None:
    """Return the study that a search may go on with, None if there is none.

    Raises:
        InputError: If it lies where no search writes.
    """
    if Path(text).suffix in (".yaml", ".yml"):
        return None
    try:
        study = open_study(text, database=database)
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
    return Path(text).suffix in (".yaml", ".yml") or (studies_folder() / f"{text}.yaml").is_file()


def _is_shipped(text: str) -> bool:
    return text in shipped_names("studies")


def _stored_settings(
    study: Study, name: str | None, overrides: Mapping[str, Any], *, trust: bool
) -> Settings:
    where = f"study '{study.name}'"
    plain = dict(study.config)
    for key, value in overrides.items():
        plain = with_key(plain, key, value, where)
    config = config_from_plain(
        plain,
        where=f"{where} with {', '.join(overrides)} set" if overrides else where,
        name=study.name if name is None else name,
        strategies=STRATEGIES,
        executors=EXECUTORS,
        trust=trust,
    )
    return Settings(config=config, how=f"study {config.name} by the settings that {where} stored")
