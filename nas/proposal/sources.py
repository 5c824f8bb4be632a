"""Which task the data are for: by what their files are called and hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nas.data.images import SPLIT_FOLDERS, find_pictures, is_idx_folder
from nas.data.sources import is_builtin, is_there, local_path
from nas.data.tables import is_table
from nas.errors import DataError, InputError, nearest
from nas.proposal.builtin import look_at_builtin
from nas.proposal.columns import TABLE_TASKS
from nas.proposal.pictures import look_at_images
from nas.proposal.sight import Sight
from nas.proposal.table import look_at_table
from nas.proposal.text import look_at_text
from nas.tasks import TASKS

TEXT, IMAGES = "language_modeling", "image_classification"

# Files that hold data in a form that no task reads, and what to do about it.
UNREAD = {
    (".parquet", ".feather", ".arrow", ".xlsx", ".xls", ".ods", ".pkl", ".h5"): (
        "save it as .csv, .tsv or .jsonl"
    ),
    (".pdf", ".docx", ".doc", ".odt", ".rtf", ".epub"): "save it as plain text",
    (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"): (
        "unpack it and give the file or folder"
    ),
    (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"): (
        "give the folder of class folders that it lies in: FOLDER/CLASS/picture.png"
    ),
    (".npy",): "save pixels and labels as x and y in one .npz file (numpy.savez)",
}


def look(source: str, task: str | None = None) -> Sight:
    """Return what is in the data and which task it is for.

    Args:
        source: A file, a folder, or builtin:NAME.
        task: A task of `TASKS`, where the user says which; None: as the data tell.

    Raises:
        DataError: If the data cannot be read, or no task reads them.
        InputError: If there is no such task.
    """
    if task is not None and task not in TASKS:
        raise InputError(
            f"--task: unknown task '{task}'; known: {', '.join(TASKS)}{nearest(task, TASKS)}"
        )
    if is_builtin(source):
        return look_at_builtin(source, task)
    path = local_path(source)
    if not is_there(path):
        raise DataError(f"{source}: no such file or folder; check the path")
    return _look_at(path, task)


def _look_at(path: Path, task: str | None) -> Sight:
    if path.is_dir():
        return _look_at_folder(path, task)
    if not path.is_file():
        raise DataError(f"{path}: neither a file nor a folder")
    _refuse_unread(path)
    if not path.stat().st_size:
        raise DataError(f"{path}: empty; there is nothing to learn from")
    return _looker(path, task)(path, task)


def _looker(path: Path, task: str | None) -> Callable[[Path, str | None], Sight]:
    if task == IMAGES or (task is None and path.suffix.lower() == ".npz"):
        return lambda found, _: look_at_images(found)
    if task in TABLE_TASKS or (task is None and is_table(path)):
        return lambda found, wanted: look_at_table({"all": found}, wanted)
    return lambda found, _: look_at_text({"all": found})


def _look_at_folder(folder: Path, task: str | None) -> Sight:
    files = _split_files(folder)
    if files and task != IMAGES:
        if all(is_table(path) for path in files.values()):
            return look_at_table(files, task)
        if task in (None, TEXT) and not any(is_table(path) for path in files.values()):
            return look_at_text(files)
    if task == IMAGES or (task is None and _has_pictures(folder)):
        return look_at_images(folder)
    if task in TABLE_TASKS:
        raise DataError(
            f"{folder}: {task} reads a table: a .csv, .tsv or .jsonl file, or a folder with "
            "train.csv, val.csv and test.csv"
        )
    return look_at_text({"all": folder})


def _has_pictures(folder: Path) -> bool:
    return is_idx_folder(folder) or any(find_pictures(folder).values())


def _split_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that are called as splits; empty unless train is among them."""
    found: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        for path in files:
            if path.name.partition(".")[0].lower() in names:
                found.setdefault(split, path)
    return found if "train" in found and len(found) > 1 else {}


def _refuse_unread(path: Path) -> None:
    suffix = path.suffix.lower()
    for suffixes, advice in UNREAD.items():
        if suffix in suffixes:
            raise DataError(f"{path}: no task reads {suffix} files; {advice}")
