"""What a study takes of the disk at most, whether that is there, and what to say when it is not.

The most is a closed form of the space and the study file: no model is larger than the space's
largest, and of each kind of file it is known how many there are at once.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from nas.artifact.golden_file import golden_arrays
from nas.artifact.manifest import PROCESSOR_FILES
from nas.config import StudyConfig
from nas.data import PreparedData
from nas.driver.events import Listener, Note
from nas.errors import DATABASE_FAULTS, DISK_FAULTS, DiskError, disk_fault
from nas.records import WRITING_HEADS, TaskSpec, to_plain
from nas.space import BoundSpace
from nas.space.rated import FACTORS
from nas.store.urls import database_url, is_server
from nas.store.writes import MODELS
from nas.strategies.halving import FIRST_FULL
from nas.study import Study

if TYPE_CHECKING:
    from nas.driver.opening import OpenedStudy

NO_FILES = "no more files can be made (the file system's inodes are used up)"

P = ParamSpec("P")
T = TypeVar("T")

BLOCK = 4_096  # a file takes whole ones on most file systems
WEIGHT_BYTES = 4
MOMENTS = 2  # of AdamW, beside the weights in a checkpoint
MODEL_FILES = 10  # of a model folder; each may waste a block
# Beside the weights and moments of a checkpoint: its tensors' names and places, and the curve of
# each measurement. Measured were 3.7 kB a layer (of an encoder-decoder), 1 kB a rung and 5 kB.
LAYER_BYTES, RUNG_BYTES = 8_192, 2_048
TEXT_BYTES = 16_384  # also of card, manifest and configuration; 3.5 kB were measured

# A database with the tables of nas and Optuna (160 kB were measured), each candidate in it and each
# of its measurements (6.5 kB with two of them).
DATABASE_BYTES, CANDIDATE_BYTES, EVALUATION_BYTES = 300_000, 8_192, 4_096
# SQLite's write-ahead log: 0.4 MB were measured for the tables and 95 kB for each candidate with
# two measurements; at 1,000 pages of 4,120 bytes it begins anew, when a transaction has ended.
LOG_LEAST, LOG_CANDIDATE, LOG_EVALUATION = 600_000, 100_000, 50_000
LOG_MOST = 4_500_000
# A report, of which plotly.js is 0.5 MB and a candidate some 2 kB; a new one lies beside the old
# until it is whole.
REPORT_BYTES, REPORT_CANDIDATE, REPORTS = 700_000, 2_500, 2
# Below this a database has no room for its log and the memory that its readers share.
ROOM = 65_536
LEAST_DATABASE = 150_000


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskNeed:
    """Bytes that a study takes, what it holds already included.

    Attributes:
        least: With less no candidate can be kept.
        one: What a candidate needs while it trains and is written.
        most: No more is ever taken; None: no limit on the candidates is known.
    """

    least: int
    one: int
    most: int | None


def disk_need(
    config: StudyConfig,
    space: BoundSpace,
    prepared: PreparedData,
    slots: int,
    *,
    on_server: bool,
    candidates: int | None = None,
    kept: int = 0,
) -> DiskNeed:
    """Return what a study takes.

    Args:
        config: The study file.
        space: Its space under the task.
        prepared: Its data, as the study keeps them.
        slots: How many candidates train at once.
        on_server: Whether the database lies elsewhere, on a server.
        candidates: How many there will be, where the study file does not limit them.
        kept: Models of a finished search that goes on.
    """
    low, _ = space.bounds("params")
    reference = space.space.reference
    first = low if reference is None else space.columns(reference)["params"]
    data = sum(_in_blocks(file.stat().st_size) for file in prepared.folder.iterdir())
    model, checkpoint = _model_bytes(space, prepared), _checkpoint_bytes(config, space)
    trainings = _entrants(config) * config.finalists.seeds
    number = _candidates(config, space, candidates)
    models = (kept + config.keep + slots + trainings) * model
    least = data + (0 if on_server else LEAST_DATABASE) + WEIGHT_BYTES * int(first)
    if number is None:
        return DiskNeed(least=least, one=model + 2 * checkpoint, most=None)
    checkpoints = _paused(config, number) + 2 * slots
    if trainings:  # from before their cooldown: one a shape, and of each that trains
        checkpoints += _entrants(config) + slots
    rungs = len(config.budget.amounts)
    stored = 0 if on_server else _database_bytes(number + trainings, rungs)
    return DiskNeed(
        least=least,
        one=model + 2 * checkpoint,
        most=data + models + checkpoints * checkpoint + stored + _report_bytes(number + trainings),
    )


def need_of(opened: OpenedStudy, slots: int) -> DiskNeed:
    """Return what an opened study takes, so many candidates training at once."""
    folder = opened.folder / MODELS
    goes_on = opened.record.state == "finished" and folder.exists()
    return disk_need(
        opened.config,
        opened.space,
        opened.prepared,
        slots,
        on_server=is_server(database_url(opened.store.url)),
        kept=len(list(folder.iterdir())) if goes_on else 0,
    )


def check_disk(folder: Path, need: DiskNeed, listener: Listener) -> None:
    """Compare what a study takes with what is free.

    Args:
        folder: The study's.
        need: What it takes.
        listener: Told where the most that it can take is not there.

    Raises:
        DiskError: If not even the least is there.
    """
    free = free_bytes(folder)
    if free is None:
        return
    room = free + taken_bytes(folder)
    whole = "" if need.most is None else f" (and at most {in_words(need.most)})"
    if room < need.least:
        raise DiskError(
            f"{folder}: {in_words(free)} are free, and the study needs at least "
            f"{in_words(need.least - room + free)} more{whole}; free some space, or choose another "
            "place with NAS_STUDIES"
        )
    if need.most is not None and room < need.most:
        listener(
            Note(
                text=f"the study takes at most {in_words(need.most)} in {folder}, and "
                f"{in_words(free)} are free; if the disk fills up, the search ends and goes on "
                "once there is space"
            )
        )


@contextmanager
def disk_faults_told(folder: Path, need: DiskNeed | None = None) -> Iterator[None]:
    """Turn whatever comes of a disk that takes no more into a `DiskError` of one line.

    Args:
        folder: The study's.
        need: What it takes, once that is known.
    """
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        words = disk_fault(error) or _unclear_fault(error, folder)
        if not words:
            raise
        raise disk_error(folder, words, need) from error


def telling_disk_faults(
    work: Callable[Concatenate[Study, P], T],
) -> Callable[Concatenate[Study, P], T]:
    """Have a function, whose first argument is a study, tell of a full disk as a search does."""

    @wraps(work)
    def told(study: Study, /, *arguments: P.args, **named: P.kwargs) -> T:
        with disk_faults_told(study.folder):
            return work(study, *arguments, **named)

    return told


def disk_error(folder: Path, words: str, need: DiskNeed | None = None) -> DiskError:
    """Return the error of a disk that takes no more.

    Args:
        folder: The study's.
        words: Why it does not.
        need: What the study takes, if that is known.
    """
    found = why_full(folder)
    if found and words != DISK_FAULTS[errno.EDQUOT]:
        words = found  # the system knows better: of files that cannot be made, for one
    if words in (DISK_FAULTS[errno.EROFS], DATABASE_FAULTS["SQLITE_READONLY"]):
        return DiskError(f"{folder}: {words}; make it writable, {_KEPT}")
    free = free_bytes(folder)
    there = "" if free is None else f": {in_words(free)} are free"
    return DiskError(f"{folder}: {words}{there}{_needed(need)}; free some space, {_KEPT}")


_KEPT = "and the same command goes on: everything up to here is kept"


def _needed(need: DiskNeed | None) -> str:
    if need is None:
        return f", and a study takes {in_words(DATABASE_BYTES + LOG_LEAST)} and more"
    whole = "" if need.most is None else f", {in_words(need.most)} at most for the whole study"
    return f", and {in_words(need.one)} are needed for a candidate{whole}"


def why_full(folder: Path) -> str:
    """Return why nothing can be written where a folder lies, found out by trying; else nothing."""
    place = _existing(folder / "checkpoints")  # where what a crash leaves is deleted
    try:
        with NamedTemporaryFile(dir=place, prefix=".room-", suffix=".part") as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        words = disk_fault(error)
        return NO_FILES if words and _has_no_inodes(place) else words
    return ""


def _has_no_inodes(folder: Path) -> bool:
    if sys.platform == "win32":
        return False
    found = os.statvfs(folder)
    return bool(found.f_files) and not found.f_favail


def free_bytes(folder: Path) -> int | None:
    """Return what is free where a folder lies or will lie; None if the system does not say."""
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def taken_bytes(folder: Path) -> int:
    """Return what the files of a folder take; one that goes meanwhile takes nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += _in_blocks(Path(parent, name).lstat().st_size)
            except FileNotFoundError:
                continue
    return total


def in_words(size: int) -> str:
    """Return a number of bytes in words: 512 bytes, 3.1 MB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def _existing(folder: Path) -> Path:
    """Return the folder, or the one above it that is there already."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _unclear_fault(error: BaseException | None, folder: Path) -> str:
    """Return why the disk took no more, where SQLite only says that it could not write."""
    while error is not None:
        name = str(getattr(error, "sqlite_errorname", ""))
        if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")):
            return why_full(folder)
        error = error.__cause__ or error.__context__
    return ""


def _report_bytes(rows: int) -> int:
    """Return what the report of so many candidates takes at most."""
    return REPORTS * (REPORT_BYTES + REPORT_CANDIDATE * rows)


def _in_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _entrants(config: StudyConfig) -> int:
    """Return how many shapes take part in the finals at most: the best and the reference."""
    return config.finalists.top + 1 if config.finalists.top else 0


def _candidates(config: StudyConfig, space: BoundSpace, given: int | None) -> int | None:
    """Return how many candidates there are at most; None if nothing limits them."""
    shapes = space.size() * (len(FACTORS) if config.recipe.search_rate else 1)
    if config.stop.candidates is not None:
        return min(config.stop.candidates, shapes)
    if given is not None:
        return min(given, shapes)
    return shapes if space.enumerable else None


def _paused(config: StudyConfig, candidates: int) -> int:
    """Return how many paused candidates keep a checkpoint at most (see `Halving.without_hope`)."""
    below_last = len(config.budget.amounts) - 1
    rungs = below_last - (below_last > 1)  # of three and more the first is passed without a pause
    if config.budget.eta <= 1:
        return 0
    hopeful = rungs * int(candidates / config.budget.eta)
    return max(0, min(candidates - FIRST_FULL, hopeful))


def _model_bytes(space: BoundSpace, prepared: PreparedData) -> int:
    """Return what the model folder of the space's largest shape takes."""
    _, params = space.bounds("params")
    spec, folder = space.spec, prepared.folder
    processor = sum(
        (folder / name).stat().st_size for name in PROCESSOR_FILES if (folder / name).is_file()
    )
    weights, copies = WEIGHT_BYTES * int(params), 1
    if any(dimension.layout != "one" for dimension in space.space.dimensions):
        _, padded = space.bounds("params", constrained=False)
        weights, copies = weights + WEIGHT_BYTES * int(padded), 2  # exports/hf-padded
    labels = 3 * len(json.dumps(to_plain(spec)))  # in nas.json once, in config.json twice
    texts = copies * (processor + labels) + TEXT_BYTES
    return weights + _golden_bytes(spec) + texts + copies * MODEL_FILES * BLOCK


def _golden_bytes(spec: TaskSpec) -> int:
    arrays = golden_arrays(spec)
    inputs = sum(int(array.nbytes) for array in arrays.values())
    if spec.head not in WRITING_HEADS:
        return inputs + WEIGHT_BYTES * 2 * spec.n_class  # of two texts, or one image
    return inputs + WEIGHT_BYTES * int(arrays["ids"].size) * spec.vocab_size


def _checkpoint_bytes(config: StudyConfig, space: BoundSpace) -> int:
    """Return what a checkpoint of the space's largest shape takes."""
    _, params = space.bounds("params")
    copies = 1 + MOMENTS + bool(config.recipe.early_stop)
    depth = space.space.layout.depths[-1]
    beside = depth * LAYER_BYTES + len(config.budget.amounts) * RUNG_BYTES + TEXT_BYTES
    return copies * WEIGHT_BYTES * int(params) + beside


def _database_bytes(rows: int, rungs: int) -> int:
    """Return what a database of so many candidates takes with its write-ahead log."""
    stored = DATABASE_BYTES + rows * (CANDIDATE_BYTES + rungs * EVALUATION_BYTES)
    log = LOG_LEAST + rows * (LOG_CANDIDATE + rungs * LOG_EVALUATION)
    return stored + min(LOG_MOST, log)
