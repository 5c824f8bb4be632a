"""Folders altered by chance: each loads as what it was, or is refused at once in one line."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import pytest
import torch
from hostile import FOLDERS, NAMES, WEIGHTS, Mutation, mutate, mutations
from hypothesis import HealthCheck, event, given, settings

from nas.artifact.golden import golden_inputs
from nas.artifact.tokenizer import tokenizer_errors
from nas.errors import ArtifactError
from nas.model import Model, load_folder

SECONDS = 1.0  # of CPU, in which a folder is loaded or refused
MUTATED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@cache
def original(name: str) -> tuple[Model, list[torch.Tensor], torch.Tensor]:
    """The unaltered model, its golden inputs, and its logits for them."""
    model = load_folder(FOLDERS / name, device="cpu", verify=True)
    assert (model.tokenizer is None) == (name == "vit")
    inputs = list(golden_inputs(model.task_spec).values())
    with torch.no_grad():
        return model, inputs, model(*inputs)


def outcome(folder: Path, mutation: Mutation, *, verify: bool) -> str:
    """Load an altered folder and say what became of it; anything but the two ways raises."""
    begun = time.process_time()
    try:
        model = load_folder(folder, device="cpu", verify=verify)
        if model.tokenizer is not None:
            with tokenizer_errors(folder):
                model.tokenizer.encode("a b")
    except ArtifactError as error:
        words = str(error)
    else:
        words = ""
    assert time.process_time() - begun < SECONDS
    assert words.isprintable()
    if words:
        return "refused"
    before, inputs, logits = original(mutation.name)
    same = model.architecture == before.architecture and model.task_spec == before.task_spec
    same = same and (folder / WEIGHTS).read_bytes() == (before.folder / WEIGHTS).read_bytes()
    with torch.no_grad():
        if same or verify:
            assert torch.allclose(model(*inputs), logits, rtol=2e-4, atol=2e-4)
            return "equal"
        own = golden_inputs(model.task_spec)
        model(*own.values())
    return "another model"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in NAMES:  # the first one imports its family, which no time limit counts
        original(name)
    return tmp_path_factory.mktemp("hostile") / "model"


def check(mutation: Mutation, place: Path) -> None:
    mutate(mutation, place)
    for verify in (False, True):
        event(f"{mutation.kind}, verify={verify}: {outcome(place, mutation, verify=verify)}")


@given(mutation=mutations())
@settings(MUTATED, max_examples=150)
def test_altered_folder_loads_equal_or_is_refused(mutation: Mutation, place: Path) -> None:
    check(mutation, place)


@pytest.mark.slow
@given(mutation=mutations())
@settings(MUTATED, max_examples=2_500)
def test_thousands_of_altered_folders_load_equal_or_are_refused(
    mutation: Mutation, place: Path
) -> None:
    check(mutation, place)
