"""Delete a study: its folder and, where a server has it, its rows and Optuna's mirror there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.driver.claim import claim
from nas.places import find_place
from nas.store.address import ADDRESS, has_address, read_address
from nas.store.mirror import delete_study
from nas.store.store import Store
from nas.store.urls import same_database
from nas.study import Study


@contextmanager
def idle(study: Study) -> Iterator[Store]:
    """Yield the open database of a study at which nobody works, and no other can begin.

    Raises:
        InputError: If a search or a training is at work on it.
    """
    if study.folder.is_dir():
        with suppress(OSError):  # what cannot be written has no search at work
            claim(study.folder, "deletion").close()
    with Store.open(study.url) as store:
        store.claim(study.name, study.folder)
        yield store


def owns_folder(study: Study) -> bool:
    """Say whether the folder of a study is here, and this study's by its own word."""
    if not has_address(study.folder):
        return study.folder.is_dir() and find_place(study.url).folder == study.folder
    address = read_address(study.folder)
    assert address is not None, "it has one"
    return address.study == study.name and same_database(address.url, study.url)


def remove(study: Study, store: Store) -> None:
    """Delete a study.

    On a server its folder goes first, all but the word where the database is: cut short, the same
    call finds what is left.

    Raises:
        OSError: If the folder cannot be deleted.
        StoreError: If the database cannot be written.
    """
    folder, here = study.folder, owns_folder(study)
    if here and not has_address(folder):
        store.close()  # the file is in the folder
        shutil.rmtree(folder)
        return
    if here:
        _empty(folder)
    delete_study(study.url, study.name)
    store.delete_study(study.name)
    if here:
        shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ADDRESS:
            path.unlink()
