"""The search's driver: `search` runs or resumes a study from its file to its result.

`settings` finds what is asked for, `opening` checks and opens it, in the database that `databases`
finds, `claim` keeps other writers out (`owner` knows who has the study), `beginning` measures what
a study keeps, `budgets` says how many tokens a shape gets.
`search` loops: `choosing` says what is trained next, of what `proposing` tries anew and what waits,
`jobs` makes the job, `watch` ends it if it hangs, `recovery` says whether a failed one is tried
again, `ledger` writes what came of it and `candidates` keeps it in order, `finalists` says who is
trained again and `result` sums up, `closing` leaves the report behind. `sizing` says what a job
takes of a machine.
`events` is what listeners are told, `standing` keeps up and stores where a search stands by them,
`onlooking` reads that in another process, `loggers` tells them to the loggers of the study file.
`limits` says when it is time to end and `pace` what that is reckoned from, `latency` which shapes
are too slow, `stopping` takes interrupts, `warm` takes over what another study measured. Beside a
search, on its `bench`, `retrain` trains a stored candidate again, `extend` to more tokens, and
`own` a shape of the user's. `checking` looks a study over, and `removing` deletes it. `disk` says
what a study takes and what it means that a disk is full, `filesystem` where SQLite is not safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.config import StudyConfig
from nas.driver.beginning import begun
from nas.driver.closing import leaving_report, write_if_missing
from nas.driver.disk import DiskNeed, check_disk, disk_faults_told, need_of
from nas.driver.events import Event, Listener, Note, silent
from nas.driver.filesystem import place_warning
from nas.driver.latency import under_latency_limit
from nas.driver.loggers import telling
from nas.driver.opening import WORKER_THREADS, OpenedStudy, open_for_search
from nas.driver.search import Driver, SearchInterrupted
from nas.driver.settings import find_settings
from nas.driver.sizing import job_bytes
from nas.driver.standing import KeptStanding
from nas.driver.stopping import Stop
from nas.errors import InputError
from nas.executors import Executor, make_executor
from nas.loggers import logger_class
from nas.plugins import allow
from nas.store.rows import StudyRecord
from nas.store.urls import database_url, open_form, sqlite_file
from nas.study import Study, studies_folder

__all__ = ["Listener", "SearchInterrupted", "search"]


def search(
    study: str | Path | StudyConfig = "quickstart",
    *,
    name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    warm_start: str | Path | Study | None = None,
    database: str | None = None,
    trust: bool = False,
    listener: Listener = silent,
) -> Study:
    """Run a search to its end; go on with it if it exists.

    Args:
        study: A study file's path, the name of one in `./studies` or of a shipped one, a stored
            study, or a `StudyConfig`.
        name: What the study is called; the file's name if left out.
        overrides: Values for dotted keys of the study file, such as `{"stop.minutes": 5}`.
        fresh: Move an existing study of the name aside and begin anew.
        warm_start: Another study, its name or folder: what it measured of shapes of this space
            seeds the proposals of a new study. Its losses are not compared with new ones: `auto`
            takes them for a belief about which shapes are better, which own results may overrule;
            for other strategies its four best shapes are tried first, as long as that pays.
        database: The URL of a server that a new study is to be on, or that the study is on, with
            the password where that is neither in `NAS_DATABASE` nor where libpq finds it. It is
            kept without the password.
        trust: Whether code outside nas that a study file, a space file or a stored study names
            (`package.module:Name`) may be imported, which runs it. What a `StudyConfig` or
            `overrides` name needs no trust.
        listener: Told what happens (see `driver.events`).

    Returns:
        The study, to ask for its trials and its best candidate.

    Raises:
        InputError: If the study file, the data or the device is wrong, or the study exists with
            other settings.
        UntrustedError: If code is named that is not trusted.
        DiskError: If the disk is full or cannot be written; everything is kept, and the same call
            goes on once there is space.
        SearchInterrupted: A KeyboardInterrupt: Ctrl-C was pressed; everything is kept.
        NasError: If no candidate could be trained.
    """
    if isinstance(study, StudyConfig):
        if name is not None or overrides or warm_start is not None:
            raise InputError(
                "name, overrides and warm_start are for study files, not for a StudyConfig"
            )
        config = study if database is None else replace(study, database=open_form(database))
        allow([config.space.family, config.task.name, config.strategy, *config.loggers])
    else:
        if warm_start is not None:
            start = warm_start.folder if isinstance(warm_start, Study) else warm_start
            overrides = {**(overrides or {}), "warm_start": str(start)}
        if database is not None:
            overrides = {**(overrides or {}), "database": open_form(database)}
        found = find_settings(
            str(study),
            name=name,
            overrides=overrides,
            fresh=fresh,
            database=database,
            trust=trust,
        )
        config = found.config
    for logger in config.loggers:
        logger_class(logger)  # one that is missing is told before anything is made
    with disk_faults_told(studies_folder().absolute() / config.name), Stop(at_once=True) as stop:
        opened = open_for_search(config, fresh=fresh, database=database)
        try:
            if is_finished(opened):
                write_if_missing(_study_of(opened), listener)
            else:
                with leaving_report(_study_of(opened), listener):
                    _run(opened, listener, stop)
        finally:
            opened.close()
    return _study_of(opened)


def _study_of(opened: OpenedStudy) -> Study:
    return Study(url=opened.store.url, folder=opened.folder, name=opened.record.name)


def _run(opened: OpenedStudy, listener: Listener, stop: Stop) -> None:
    config = opened.config
    if opened.claim.note:
        listener(Note(text=opened.claim.note))
    opened.store.wait_when_away(lambda text: listener(Note(text=text)), leave=lambda: stop.asked)
    stop.at_once = False  # from here on there is something to save
    opened.store.set_state(opened.record, "running")
    executor = make_executor(
        config.executor,
        workers=config.workers,
        threads=WORKER_THREADS,
        device=_device(opened),
        job_bytes=job_bytes(opened.space, config.seed),
    )
    try:
        need = need_of(opened, executor.slots)
        with disk_faults_told(opened.folder, need):
            _look_at_disk(opened, need, listener)
            with _told(opened, listener) as tell:
                _drive(opened, executor, tell, stop)
    finally:
        executor.close()


@contextmanager
def _told(opened: OpenedStudy, listener: Listener) -> Iterator[Listener]:
    """Yield a listener that tells of the search whoever listens, looks on, or logs."""
    kept = KeptStanding(opened.store, opened.record)
    name, folder = opened.record.name, opened.folder
    with telling(opened.config.loggers, study=name, folder=folder, listener=listener) as log:

        def tell(event: Event) -> None:
            for each in (listener, kept, log):
                each(event)

        yield tell


def _drive(opened: OpenedStudy, executor: Executor, listener: Listener, stop: Stop) -> None:
    opened = under_latency_limit(opened, executor, listener)
    opened = begun(opened, executor, listener)
    driver = Driver(opened, executor, listener, stop)
    try:
        driver.run()
    finally:
        driver.ledger.close()


def _device(opened: OpenedStudy) -> str:
    """Return the kind of device that jobs run on; the study's own unless another is asked for."""
    asked, known = opened.config.device, opened.record.numerics
    return known.device if asked == "auto" and known is not None else asked


def _look_at_disk(opened: OpenedStudy, need: DiskNeed, listener: Listener) -> None:
    """Tell or refuse, before anything is trained, what the place of a study cannot hold.

    Raises:
        DiskError: If not even the least that the study takes is free.
    """
    if sqlite_file(database_url(opened.store.url)) and (words := place_warning(opened.folder)):
        listener(Note(text=words))
    check_disk(opened.folder, need, listener)


def is_finished(opened: OpenedStudy) -> bool:
    """Say whether a study came to its end, under limits and finals no less than today's.

    It did not if the user has enqueued a shape since. Its limit on latency must be the same: a
    lower one may take the winner's place from it.
    """
    record: StudyRecord = opened.record
    if record.state != "finished" or opened.has_enqueued():
        return False
    now = opened.config.to_plain()
    limits = [(plain.get("latency") or {}).get("max_ms") for plain in (record.config, now)]
    if limits[0] != limits[1]:
        return False
    return not any(_raised(record.config[name], now[name]) for name in ("stop", "finalists"))


def _raised(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Say whether any limit was raised or lifted."""
    for key, limit in new.items():
        before = old.get(key)
        if before is not None and (limit is None or limit > before):
            return True
    return False
