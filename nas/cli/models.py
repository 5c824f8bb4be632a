"""Which model is meant by STUDY|FOLDER and --candidate on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.choosing import find_study, shown_path

if TYPE_CHECKING:
    from nas.model import Model

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY|FOLDER",
        help="A study or a model folder; the newest study in ./studies if left out.",
        show_default=False,
    ),
]
CandidateOption = Annotated[
    str | None,
    typer.Option(help="This one instead of the best: its id or number.", show_default=False),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def find_model(what: str | None, candidate: str | None) -> tuple[Path, str | None]:
    """Return a model's folder and, unless it was named itself, in words whose it is.

    Raises:
        NotFoundError: If there is no such study or candidate, or its weights were not kept.
    """
    from nas.artifact import holds_model
    from nas.cli.show import find_candidate
    from nas.loading import model_folder

    if what is not None and candidate is None and holds_model(Path(what)):
        return Path(what), None
    found, how = find_study(what)
    row = found.best() if candidate is None else find_candidate(found, candidate)
    return model_folder(found, row), f"{how}, #{row.number}"


def open_model(
    what: str | None, candidate: str | None, device: str, *, trust: bool
) -> tuple[Model, str]:
    """Return a model and, in words, which one was taken.

    Args:
        what: A study or a model folder; None: the newest study.
        candidate: Of a study: this one instead of the best.
        device: Where it runs.
        trust: Whether a family of the user's own may be imported, which runs its code.

    Raises:
        NotFoundError: If there is no such study or candidate, or its weights were not kept.
        ArtifactError: If its folder is incomplete or altered.
        DeviceError: If the device is unknown or not here.
    """
    from nas.device import check_device_name
    from nas.loading import load

    check_device_name(device)
    folder, how = find_model(what, candidate)
    said = str(what) if how is None else f"{how}: {shown_path(folder)}"
    return load(folder, device=device, trust=trust), said
