"""A model folder is untrusted input: what it claims and hides is refused, and takes no memory."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hostile import FOLDERS, GOLDEN, MANIFEST, WEIGHTS, join_header
from hostile import seal as seal_files
from safetensors.torch import load_file, save_file

from nas.data import bpe
from nas.errors import ArtifactError, DataError
from nas.model import Model, load_folder, save

SECONDS = 1.0  # of CPU, in which a folder is refused


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for folder in FOLDERS.iterdir():  # the first one imports its family, which no limit counts
        load_folder(folder, device="cpu", verify=True)
    return tmp_path_factory.mktemp("hostile") / "model"


@contextmanager
def memory_limit(extra: int) -> Iterator[None]:
    """Let this process map no more than `extra` bytes beyond what it has; Linux only."""
    import resource

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


TOO_FEW = "has .* bytes of weights|'model.safetensors' has .* bytes"
TERABYTES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "header": ("llama", claim_long_header, "a header of 4398046511104 bytes"),
    "tensor": ("llama", claim_large_tensor, "is not a whole safetensors file"),
    "width": (
        "llama",
        lambda f: claim_shape(f, d_model=16_384, d_ff=65_536),
        TOO_FEW,
    ),
    "vocabulary": (
        "gpt2",
        lambda f: edit(f, lambda plain: plain["task_spec"].update(vocab_size=1 << 24)),
        TOO_FEW,
    ),
    "layers": (
        "blenderbot",
        lambda f: claim_shape(f, n_layer=256),
        TOO_FEW,
    ),
    "images": ("vit", claim_large_images, TOO_FEW),
    "weights file": ("bert", grow(WEIGHTS, 1 << 40), r"has 1099511627776 bytes, expected \d+ to"),
    "tokenizer": ("bert", grow("tokenizer.json", 1 << 30), "expected 0 to 67108864"),
    "golden": ("bert", grow(GOLDEN, 1 << 33), "has 8589934592 bytes"),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's address limit")
@pytest.mark.parametrize(("name", "change", "problem"), TERABYTES.values(), ids=TERABYTES)
def test_claim_of_more_memory_than_the_folder_has_is_refused(
    name: str, change: Callable[[Path], object], problem: str, place: Path
) -> None:
    copy(place, name)
    change(place)
    begun = time.process_time()
    with memory_limit(512 << 20), pytest.raises(ArtifactError, match=problem):
        load_folder(place, device="cpu", verify=True)
    assert time.process_time() - begun < SECONDS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's address limit")
def test_claim_of_a_long_context_takes_no_memory(place: Path) -> None:
    copy(place, "llama")
    edit(place, lambda plain: plain["task_spec"].update(context=1 << 20))
    with memory_limit(64 << 20):
        load_folder(place, device="cpu", verify=True)


def copy(place: Path, name: str) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(FOLDERS / name, place)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, "config.json"])
@pytest.mark.parametrize("kind", ["link", "endless", "loop", "folder", "pipe", "nothing"])
def test_what_is_no_plain_file_is_refused_unopened(name: str, kind: str, place: Path) -> None:
    copy(place, "vit")
    path = place / name
    path.unlink()
    {
        "link": lambda: path.symlink_to(FOLDERS / "vit" / name),
        "endless": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "nothing": lambda: None,
    }[kind]()
    problem = r"is a link|is not a file|is missing|has no nas\.json"
    with pytest.raises(ArtifactError, match=problem):
        load_folder(place, device="cpu", verify=True)


def rewrite(place: Path, name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(place / name).items()}
    change(tensors)
    save_file(tensors, place / name)
    seal_files(place, name)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_and_not_written(
    number: float, place: Path
) -> None:
    copy(place, "bert")
    key = "classifier.bias"
    rewrite(place, WEIGHTS, lambda tensors: tensors[key][1:2].fill_(number))
    with pytest.raises(ArtifactError, match=rf"'{key}' has weights that are not finite"):
        load_folder(place, device="cpu")
    model = load_folder(FOLDERS / "bert", device="cpu")
    with torch.no_grad():
        model.get_parameter(f"network.{key}")[1] = number
    with pytest.raises(ArtifactError, match=rf"not written: '{key}' has weights"):
        save(model, place.with_name("written"))
    assert not place.with_name("written").exists()


def test_large_weights_whose_sum_alone_overflows_are_loaded(place: Path) -> None:
    copy(place, "bert")
    key = "bert.embeddings.word_embeddings.weight"
    rewrite(place, WEIGHTS, lambda tensors: tensors[key].fill_(1e38))
    assert load_folder(place, device="cpu").state_dict()[key].max() == torch.tensor(1e38)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.update(mask=t["mask"][:1].clone()), "has mask .* no input"),
        (lambda t: t.update(mask=t["mask"][:, :3].clone()), "has a mask"),
        (lambda t: t.update(ids=t["ids"].repeat(4, 1), mask=t["mask"].repeat(4, 1)), "more than"),
        (lambda t: t.update(logits=t["logits"].double()), "has .*logits.*expected"),
        (lambda t: t.update(logits=t["logits"][:, :1].clone()), "of another model"),
        (lambda t: t["logits"].fill_(float("nan")), "differ by nan"),
        (lambda t: t.update(more=torch.zeros(1)), "has .*more.*, expected ids, mask, logits"),
        (lambda t: t.pop("mask"), "has .*expected ids, mask, logits"),
    ],
)
def test_golden_file_that_no_model_wrote_is_refused(
    change: Callable[[dict[str, torch.Tensor]], object], problem: str, place: Path
) -> None:
    copy(place, "bert")
    rewrite(place, GOLDEN, change)
    with pytest.raises(ArtifactError, match=rf"golden\.safetensors: .*{problem}"):
        load_folder(place, device="cpu", verify=True)


def with_tokenizer(place: Path, name: str = "llama", **parts: object) -> Model:
    copy(place, name)
    plain = json.loads((place / "tokenizer.json").read_text())
    (place / "tokenizer.json").write_text(json.dumps(plain | parts))
    seal_files(place, "tokenizer.json")
    return load_folder(place, device="cpu", verify=True)


def test_tokenizer_on_which_its_library_panics_is_refused(place: Path) -> None:
    model = with_tokenizer(
        place, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    )
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: is no usable tokenizer"):
        model.generate("ab", max_new_tokens=1)
    model = with_tokenizer(place, pre_tokenizer={"type": "FixedLength", "length": 0})
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: is no usable tokenizer"):
        model.generate("ab", max_new_tokens=1)


PANICKING = {"type": "FixedLength", "length": 0}


@pytest.mark.parametrize("name", ["bert", "blenderbot"])
def test_prediction_with_a_hostile_tokenizer_is_refused(name: str, place: Path) -> None:
    with pytest.raises((ArtifactError, DataError), match="tokenizer"):
        with_tokenizer(place, name, pre_tokenizer=PANICKING).predict("ab")
    model = with_tokenizer(place, name, pre_tokenizer=None)
    known = model.task_spec.vocab_size
    added = json.loads((place / "tokenizer.json").read_text())["added_tokens"]
    added.append({**added[0], "id": known, "content": "zzz", "special": False})
    with pytest.raises(ArtifactError, match=rf"gives the id {known}, the model knows 0 to"):
        with_tokenizer(place, name, added_tokens=added).predict("zzz")


def test_damaged_tokenizer_in_new_data_is_a_data_error() -> None:
    plain = json.loads((FOLDERS / "bert" / "tokenizer.json").read_text())
    with pytest.raises(DataError, match="or the tokenizer is damaged"):
        bpe.encode(json.dumps(plain | {"pre_tokenizer": PANICKING}), ["ab"], special=False)
    with pytest.raises(DataError, match="the tokenizer is damaged"):
        bpe.read_tokenizer("{}")


def as_stock(place: Path, name: str) -> None:
    """Leave of one of our folders what transformers' own have."""
    copy(place, name)
    (place / MANIFEST).unlink()
    (place / GOLDEN).unlink()


STOCK: dict[str, tuple[str, bytes, str]] = {
    "header": (WEIGHTS, (1 << 42).to_bytes(8, "little"), "a header of 4398046511104 bytes"),
    "twice": ("config.json", b'{"a": 1, "a": 1}', "the key 'a' is there twice"),
    "large": ("config.json", b" " * (1 << 22) + b"{}", "is larger than 4194304 bytes"),
    "scaling": ("preprocessor_config.json", b'{"a": 1, "a": 1}', "the key 'a' is there twice"),
    "infinite": ("preprocessor_config.json", b'{"image_std": [1e999]}', "no number of JSON"),
    "channels": (
        "preprocessor_config.json",
        b'{"rescale_factor": 1, "image_mean": [0, 0], "image_std": [1, 1]}',
        "is for 2 channels, not 3",
    ),
}


@pytest.mark.parametrize(("file", "content", "problem"), STOCK.values(), ids=STOCK)
def test_stock_folder_is_untrusted_too(
    file: str, content: bytes, problem: str, place: Path
) -> None:
    as_stock(place, "vit")
    (place / file).write_bytes(content)
    with pytest.raises(ArtifactError, match=problem):
        load_folder(place, device="cpu").predict(torch.zeros(8, 8))


def test_tokenizer_that_asks_for_endless_padding_does_not_pad(place: Path) -> None:
    padding = {
        "strategy": {"Fixed": 1 << 40}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "x",
    }  # fmt: skip
    assert with_tokenizer(place, padding=padding).generate("ab", max_new_tokens=1)
