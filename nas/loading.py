"""`nas.load`: from whatever names a model to the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.artifact import holds_model
from nas.errors import ArtifactError, InputError, NotFoundError
from nas.model import Model, load_folder
from nas.store.rows import CandidateRow
from nas.study import Study, newest_study, open_study

if TYPE_CHECKING:
    import torch

What = str | os.PathLike[str] | Study | CandidateRow


def load(
    what: What,
    *,
    candidate: str | None = None,
    study: str | Path | Study | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "float32",
    labels: Sequence[str] | None = None,
    verify: bool = False,
    trust: bool = False,
) -> Model:
    """Return a model ready for use: in eval mode, on the best device.

    Args:
        what: A model folder, or a stock transformers folder of a family that we know; a study
            (name, path, URL or `Study`), whose best candidate is loaded; a candidate's row; or a
            candidate id or the start of one. Tried in this order.
        candidate: With a study as `what`: this candidate of it instead of the best.
        study: With a candidate (row or id) as `what`: its study, where that is not the newest one.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: Of the weights: float32, bfloat16 or float16.
        labels: Of a stock folder without a classification head: names of the classes of a new
            one, to be fine-tuned.
        verify: Also compare every file's hash, and the logits of a stored input.
        trust: Whether a family of the user's own (`package.module:Name`) may be imported, which
            runs its code. Say so only of folders whose origin you know.

    Raises:
        NotFoundError: If there is no such model or study, nothing is complete yet, or the
            candidate's weights were not kept.
        ArtifactError: If the folder is incomplete or altered.
        DeviceError: If the device is unknown or not here.
    """
    folder = _folder_of(what, candidate, study)
    return load_folder(
        folder, device=device, dtype=dtype, labels=labels, verify=verify, trust=trust
    )


def _folder_of(what: What, candidate: str | None, study: str | Path | Study | None) -> Path:
    if isinstance(what, CandidateRow):
        return model_folder(_study(study or what.study), what)
    if isinstance(what, Study):
        return _in_study(what, candidate)
    if not isinstance(what, (str, os.PathLike)):
        raise InputError(
            f"load: got {type(what).__name__}, expected a model folder, a study, or a candidate's "
            "row or id"
        )
    if study is not None:
        opened = _study(study)
        return model_folder(opened, opened.candidate(str(what)))
    if candidate is None and holds_model(Path(what)):
        return Path(what)
    return _by_name(str(what), candidate)


def _by_name(name: str, candidate: str | None) -> Path:
    """Take `name` for a study, then for a candidate of the newest one."""
    try:
        found = open_study(name)
    except NotFoundError as no_study:
        if candidate is not None:
            raise
        if os.path.isdir(name):  # noqa: PTH112 - False, not an error, for odd names
            raise ArtifactError(
                f"{name}: neither a complete model folder (it has no nas.json), nor a stock one of "
                "transformers (it has no config.json), nor a study's folder (it has no study.db)"
            ) from no_study
        return _in_newest(name, no_study)
    return _in_study(found, candidate)


def _in_newest(candidate: str, no_study: NotFoundError) -> Path:
    try:
        newest = newest_study()
        row = newest.candidate(candidate)
    except NotFoundError:
        raise no_study from None
    return model_folder(newest, row)


def _in_study(study: Study, candidate: str | None) -> Path:
    row = study.best() if candidate is None else study.candidate(candidate)
    return model_folder(study, row)


def _study(study: str | Path | Study) -> Study:
    return study if isinstance(study, Study) else open_study(study)


def model_folder(study: Study, row: CandidateRow) -> Path:
    """Return where a candidate's model lies.

    Raises:
        NotFoundError: If its weights were not kept.
    """
    if row.model_path is not None:
        return study.folder / row.model_path
    kept = study.config.get("keep")
    limit = f" (keep: {kept})" if kept is not None else ""
    raise NotFoundError(
        f"study '{study.name}': candidate {row.candidate_id}: its weights were not kept{limit}; "
        f"train it again with: nas train {study.name} --candidate {row.candidate_id}"
    )
