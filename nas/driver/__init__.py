"""The search's driver: `search` runs or resumes a study from its file to its result.

`opening` checks and opens, `search` loops, `ledger` writes, `finalists` compares, `events` is what
listeners are told, `pace` predicts times, `stopping` takes interrupts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.config import StudyConfig, load_config
from nas.device import cpu_count
from nas.driver.events import Listener, silent
from nas.driver.opening import OpenedStudy, open_for_search
from nas.driver.search import WORKER_THREADS, Driver, SearchInterrupted
from nas.driver.stopping import Stop
from nas.errors import InputError
from nas.executors import EXECUTORS, make_executor
from nas.store.rows import StudyRecord
from nas.strategies import STRATEGIES
from nas.study import Study, open_study

__all__ = ["Listener", "SearchInterrupted", "configure", "search"]


def configure(
    study: str | Path | StudyConfig,
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> StudyConfig:
    """Return the checked config of a study file, with strategies and executors that exist.

    Raises:
        ConfigError: If the file or an override is wrong.
    """
    if isinstance(study, StudyConfig):
        if name is not None or overrides:
            raise InputError("name and overrides are for study files, not for a StudyConfig")
        return study
    return load_config(
        study, name=name, overrides=overrides, strategies=STRATEGIES, executors=EXECUTORS
    )


def search(
    study: str | Path | StudyConfig = "quickstart",
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    listener: Listener = silent,
) -> Study:
    """Run a search to its end; go on with it if it exists.

    Args:
        study: A study file's path, the name of one in `./studies` or of a shipped one, or a
            `StudyConfig`.
        name: What the study is called; the file's name if left out.
        overrides: Values for dotted keys of the study file, such as `{"stop.minutes": 5}`.
        fresh: Move an existing study of the name aside and begin anew.
        listener: Told what happens (see `driver.events`).

    Returns:
        The study, to ask for its trials and its best candidate.

    Raises:
        InputError: If the study file, the data or the device is wrong, or the study exists with
            other settings.
        SearchInterrupted: A KeyboardInterrupt: Ctrl-C was pressed; everything is kept.
        NasError: If no candidate could be trained.
    """
    opened = open_for_search(configure(study, name=name, overrides=overrides), fresh=fresh)
    try:
        if not is_finished(opened):
            _run(opened, listener)
    finally:
        opened.store.close()
    return open_study(opened.folder)


def _run(opened: OpenedStudy, listener: Listener) -> None:
    config = opened.config
    workers = 1 if config.executor == "inline" else config.workers or cpu_count()
    with Stop() as stop:
        opened.store.set_state(opened.record, "running")
        executor = make_executor(config.executor, workers=workers, threads=WORKER_THREADS)
        try:
            driver = Driver(opened, executor, listener, stop)
            try:
                driver.run()
            finally:
                driver.ledger.close()
        finally:
            executor.close()


def is_finished(opened: OpenedStudy) -> bool:
    """Say whether a study came to its end under limits no tighter than today's."""
    record: StudyRecord = opened.record
    if record.state != "finished":
        return False
    return not _raised(record.config["stop"], opened.config.to_plain()["stop"])


def _raised(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Say whether any limit was raised or lifted."""
    for key, limit in new.items():
        before = old.get(key)
        if before is not None and (limit is None or limit > before):
            return True
    return False
