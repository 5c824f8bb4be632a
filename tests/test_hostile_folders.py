"""A model folder is untrusted input: it loads as what it was, or is refused at once in one line."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from hostile import (
    FOLDERS,
    GOLDEN,
    MANIFEST,
    NAMES,
    WEIGHTS,
    Mutation,
    join_header,
    mutate,
    mutations,
)
from hostile import seal as seal_files
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
    model = load_folder(FOLDERS / name, device="cpu")
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
        assert str(error).isprintable()
        return "refused"
    finally:
        assert time.process_time() - begun < SECONDS
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
        load_folder(FOLDERS / name, device="cpu", verify=True).tokenizer
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


@contextmanager
def memory_limit(extra: int) -> Iterator[None]:
    """Let this process map no more than `extra` bytes beyond what it has; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    plain = json.loads((folder / MANIFEST).read_text())
    change(plain)
    (folder / MANIFEST).write_text(json.dumps(plain))


def claim_shape(folder: Path, **fields: int) -> None:
    edit(folder, lambda plain: plain["architecture"]["shape"].update(fields))


def claim_long_header(folder: Path) -> None:
    weights = folder / WEIGHTS
    weights.write_bytes((1 << 42).to_bytes(8, "little") + weights.read_bytes()[8:])
    seal_files(folder, WEIGHTS)


def claim_large_tensor(folder: Path) -> None:
    data = bytes(21_000)
    tensor = {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}
    (folder / WEIGHTS).write_bytes(join_header({"lm_head.weight": tensor}, data))
    seal_files(folder, WEIGHTS)


def grow(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        os.truncate(folder / name, size)  # a hole in the file: it takes no place on the disk
        edit(folder, lambda plain: plain["files"][name].update(bytes=size))

    return change


def claim_large_images(folder: Path) -> None:
    """Let one patch be most of an image whose pixels take 68 GB, with weights to fit."""
    edit(folder, lambda plain: plain["task_spec"].update(image_size=4096, n_channel=1024))


TERABYTES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "header": ("llama", claim_long_header, "a header of 4398046511104 bytes"),
    "tensor": ("llama", claim_large_tensor, "is not a whole safetensors file"),
    "width": (
        "llama",
        lambda f: claim_shape(f, d_model=16_384, d_ff=65_536),
        "model.safetensors. has|bytes of weights",
    ),
    "vocabulary": (
        "gpt2",
        lambda f: edit(f, lambda plain: plain["task_spec"].update(vocab_size=1 << 24)),
        "model.safetensors. has|bytes of weights",
    ),
    "layers": (
        "blenderbot",
        lambda f: claim_shape(f, n_layer=256),
        "model.safetensors. has|bytes of weights",
    ),
    "images": ("vit", claim_large_images, "model.safetensors. has|bytes of weights"),
    "weights file": ("bert", grow(WEIGHTS, 1 << 40), r"has 1099511627776 bytes, expected \d+ to"),
    "tokenizer": ("bert", grow("tokenizer.json", 1 << 30), "expected 0 to 67108864"),
    "golden": ("bert", grow(GOLDEN, 1 << 33), "has 8589934592 bytes"),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's address limit")
@pytest.mark.parametrize(("name", "change", "problem"), TERABYTES.values(), ids=TERABYTES)
def test_claim_of_more_memory_than_the_folder_has_is_refused(
    name: str, change: Callable[[Path], object], problem: str, place: Path
) -> None:
    mutate(Mutation(name, "path", 0, 0, 0, None, sealed=False), place)
    edit(place, lambda plain: plain["files"].pop("../llama/nas.json"))
    change(place)
    begun = time.process_time()
    with memory_limit(512 << 20), pytest.raises(ArtifactError, match=problem):
        load_folder(place, device="cpu", verify=True)
    assert time.process_time() - begun < SECONDS
