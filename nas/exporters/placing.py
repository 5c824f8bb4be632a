"""An export written under a temporary name, compared, put in place and noted in `nas.json`."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nas.artifact.manifest import WEIGHTS, ExportInfo
from nas.artifact.writing import note_export, put_in_place
from nas.errors import ExportError
from nas.exporters import Exported, Exporter
from nas.exporters.gate import Parity, compare

if TYPE_CHECKING:
    from nas.model import Model

MARKER = "export.json"  # in every export: says what it is of, and that it may be replaced


def place_export(exporter: Exporter, model: Model, to: str, out: str | Path | None) -> Exported:
    """Write, compare and put in place; what was there stays if any of it fails.

    Raises:
        ExportError: If the target cannot express the model or the place is taken.
        ParityError: If the export computes something else.
    """
    folder = _place(model, to, out)
    _check_free(folder)
    exporter.refuse(model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        temporary.chmod(0o755)  # as mkdir would: mkdtemp's is for its owner alone
        exporter.write(model, temporary)
        _write_marker(temporary, model, to)
        parity = compare(exporter, exporter.open(temporary), model)
        parity.check(to)
        figures = _figures(exporter, model, temporary)
        put_in_place(temporary, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _note(model, to, folder, parity, figures)
    return _exported(to, folder, parity, figures)


def check_export(exporter: Exporter, model: Model, to: str, out: str | Path | None) -> Exported:
    """Compare an export that is there once more, and note what was found.

    Raises:
        ExportError: If there is none, or it is not of this model.
        ParityError: If it computes something else.
    """
    folder = _place(model, to, out)
    _check_marker(folder, model, to)
    parity = compare(exporter, exporter.open(folder), model)
    known = model.manifest.exports.get(to)
    figures = (
        dict(known.figures) if known is not None and known.path == _shown(model, folder) else {}
    )
    if parity.difference < float("inf"):  # JSON has no other numbers
        _note(model, to, folder, parity, figures)
    parity.check(to)
    return _exported(to, folder, parity, figures)


def _place(model: Model, to: str, out: str | Path | None) -> Path:
    assert model.folder is not None, "nas.load reads models from folders"
    return Path(out) if out is not None else model.folder / "exports" / to


def _check_free(folder: Path) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if taken and not (folder / MARKER).is_file():
            raise ExportError(
                f"{folder}: holds something that is not an export; choose a new folder"
            )
    except OSError as error:
        raise _unwritable(folder, error) from error


def _write_marker(folder: Path, model: Model, to: str) -> None:
    (folder / MARKER).write_text(json.dumps(_mark(model, to), indent=2) + "\n")


def _mark(model: Model, to: str) -> dict[str, object]:
    weights = model.manifest.files[WEIGHTS].sha256
    return {"format_version": 1, "format": to, "weights_sha256": weights}


def _check_marker(folder: Path, model: Model, to: str) -> None:
    try:
        found = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{folder}: no export to {to} here (it has no readable {MARKER}); write it first, "
            "without --check"
        ) from error
    if found != _mark(model, to):
        raise ExportError(
            f"{folder}: is an export of other weights or to another format, not this model's to "
            f"{to}; write it anew, without --check"
        )


def _figures(exporter: Exporter, model: Model, folder: Path) -> dict[str, float]:
    measure = getattr(exporter, "measure", None)
    return dict(measure(model, folder)) if measure is not None else {}


def _known_figures(model: Model, to: str, folder: Path) -> dict[str, float]:
    """Return what was measured when this export was written."""
    known = model.manifest.exports.get(to)
    same = known is not None and known.path == _shown(model, folder)
    return dict(known.figures) if known is not None and same else {}


def _note(model: Model, to: str, folder: Path, parity: Parity, figures: dict[str, float]) -> None:
    assert model.folder is not None, "nas.load reads models from folders"
    info = ExportInfo(
        path=_shown(model, folder),
        difference=parity.difference,
        bound=parity.bound,
        passed=parity.passed,
        greedy_tokens=parity.greedy_tokens,
        figures=figures,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    note_export(model.folder, to, info)


def _shown(model: Model, folder: Path) -> str:
    """Return the export's path: within the model folder if it is there, else as a whole."""
    assert model.folder is not None, "nas.load reads models from folders"
    place, home = folder.resolve(), model.folder.resolve()
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else str(place)


def _exported(to: str, folder: Path, parity: Parity, figures: dict[str, float]) -> Exported:
    files = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    return Exported(
        to=to,
        path=folder,
        bytes=sum(file.stat().st_size for file in files),
        difference=parity.difference,
        bound=parity.bound,
        greedy_tokens=parity.greedy_tokens,
        figures=figures,
    )


def _unwritable(folder: Path, error: OSError) -> ExportError:
    return ExportError(
        f"{folder}: cannot be written ({error.strerror or error}); free the place or choose "
        "another folder"
    )
