"""A model folder: written whole, read with suspicion."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stand_ins import build, write_byte_tokenizer

from nas.artifact import MANIFEST, FileInfo, Manifest, read_manifest, verify_files
from nas.artifact.golden import verify_golden
from nas.artifact.weights import read_network
from nas.artifact.writing import write_model
from nas.errors import ArtifactError
from nas.families import architecture
from nas.records import Candidate, Evaluation, Job, Numerics, Recipe, TaskSpec

SPEC = TaskSpec(
    task="language_modeling",
    head="causal_lm",
    vocab_size=257,
    context=24,
    bos_token_id=256,
    eos_token_id=256,
)
ARCHITECTURE = architecture("llama", n_layer=2, d_model=16, n_head=2, n_kv_head=1, d_ff=24)
JOB = Job(
    study="tiny",
    candidate=Candidate(
        architecture=ARCHITECTURE,
        recipe=Recipe(context=24, batch=4, rate=0.01),
        seed=7,
        data_fingerprint="0123456789ab",
    ),
    task_spec=SPEC,
    data="data",
    rungs=(1000,),
    rung=0,
    numerics=Numerics(device="cpu", precision="fp32", attention="sdpa", threads=1),
    eval_tokens=100,
)
EVALUATION = Evaluation(
    rung=0, tokens=1000, seconds=1.0, metrics={"val": {"loss": 2.5, "odd": float("inf")}}
)


@pytest.fixture
def tokenizer_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    write_byte_tokenizer(folder, 24)
    return folder


@pytest.fixture
def folder(tmp_path: Path, tokenizer_dir: Path) -> Path:
    place = tmp_path / "models" / "one"
    network = build(ARCHITECTURE, SPEC, seed=7)
    manifest = Manifest.of_job(JOB, EVALUATION)
    write_model(place, network.state_dict(), manifest, processor_dir=tokenizer_dir)
    return place


def read_all(folder: Path) -> None:
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    verify_golden(read_network(folder, manifest), folder, manifest)


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    plain = json.loads((folder / MANIFEST).read_text())
    change(plain)
    (folder / MANIFEST).write_text(json.dumps(plain))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put other content in place and let the manifest agree with its size."""
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    edit(folder, lambda plain: plain["files"][name].update(bytes=len(content)))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    save_file(tensors, folder.parent / "other.safetensors")
    replace_file(folder, "model.safetensors", (folder.parent / "other.safetensors").read_bytes())


def error_of(act: Callable[[], object]) -> str:
    with pytest.raises(ArtifactError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_folder_round_trip_keeps_record_and_bits(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.architecture == ARCHITECTURE
    assert manifest.task_spec == SPEC
    assert manifest.recipe == JOB.candidate.recipe
    assert (manifest.candidate_id, manifest.study) == (JOB.candidate.id, "tiny")
    assert (manifest.seed, manifest.tokens) == (7, 1000)
    assert manifest.metrics == {"val": {"loss": 2.5}}  # what is not finite is left out
    assert set(manifest.versions) == {"nas", "torch", "python"}
    network, stored = build(ARCHITECTURE, SPEC, seed=7), read_network(folder, manifest)
    assert manifest.params == sum(weight.numel() for weight in network.parameters())
    for name, weight in stored.state_dict().items():
        assert torch.equal(weight, network.state_dict()[name])
    read_all(folder)


def test_folder_holds_exactly_the_files_of_its_manifest(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {*read_manifest(folder).files, MANIFEST}
    assert names >= {"README.md", "config.json", "tokenizer.json", "golden.safetensors"}
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_written_size_and_hash_are_those_of_the_folder(tmp_path: Path) -> None:
    state = build(ARCHITECTURE, SPEC).state_dict()
    manifest = Manifest(architecture=ARCHITECTURE, task_spec=SPEC)
    written = write_model(tmp_path / "m", state, manifest)
    assert written.bytes == sum(path.stat().st_size for path in (tmp_path / "m").iterdir())
    content = (tmp_path / "m" / MANIFEST).read_bytes()
    assert written.sha256 == hashlib.sha256(content).hexdigest()


def test_card_names_shape_metrics_and_both_ways_to_load(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\n")
    for part in ("| d_ff | 24 |", "| val | loss | 2.5000 |", "nas.load(", "AutoTokenizer"):
        assert part in card


def test_older_folder_is_replaced_whole(folder: Path) -> None:
    (folder / "leftover").write_text("old")
    state = build(ARCHITECTURE, SPEC, seed=8).state_dict()
    write_model(folder, state, Manifest(architecture=ARCHITECTURE, task_spec=SPEC))
    read_all(folder)
    assert not (folder / "leftover").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_failed_write_leaves_the_older_folder(folder: Path, tmp_path: Path) -> None:
    state = build(ARCHITECTURE, SPEC, seed=8).state_dict()
    manifest = Manifest(architecture=ARCHITECTURE, task_spec=SPEC)
    missing = tmp_path / "nowhere"
    message = error_of(lambda: write_model(folder, state, manifest, processor_dir=missing))
    assert "nowhere: holds neither a tokenizer nor a preprocessor" in message
    read_all(folder)
    assert read_manifest(folder).study == "tiny"
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_unwritable_place_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    manifest = Manifest(architecture=ARCHITECTURE, task_spec=SPEC)
    state = build(ARCHITECTURE, SPEC).state_dict()
    place = tmp_path / "file" / "model"
    assert "cannot be written" in error_of(lambda: write_model(place, state, manifest))


def test_loaded_weights_change_without_changing_the_file(folder: Path) -> None:
    network = read_network(folder, read_manifest(folder))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)
    read_all(folder)


def test_weights_are_mapped_without_a_copy(folder: Path) -> None:
    network = read_network(folder, read_manifest(folder))
    assert len({weight.untyped_storage().data_ptr() for weight in network.parameters()}) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name}: is missing" in error_of(lambda: read_all(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors", "config.json"])
def test_truncated_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-8])
    message = error_of(lambda: read_all(folder))
    assert f"{name}: has {len(content) - 8} bytes, expected {len(content)}" in message


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors", "config.json"])
def test_altered_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    assert f"{name}: was altered" in error_of(lambda: read_all(folder))


def test_other_weights_under_right_hashes_fail_the_golden_logits(folder: Path) -> None:
    rewrite_weights(folder, lambda tensors: tensors["model.norm.weight"].mul_(2))
    manifest = read_manifest(folder)
    network = read_network(folder, manifest)
    assert "logits differ" in error_of(lambda: verify_golden(network, folder, manifest))


NORM = "model.norm.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.pop(NORM), "has 8016 weights in 19 tensors, expected 8032"),
        (lambda t: t.update(more=torch.zeros(2)), "has 8034 weights in 21 tensors, expected 8032"),
        (lambda t: t.update({NORM: torch.ones(8)}), "has 8024 weights"),
        (lambda t: t.update(more=t.pop(NORM)), f"lacks '{NORM}' (and 1 more)"),
        (lambda t: t.update({GATE: t[GATE].T.contiguous()}), "F32 (16, 24), expected F32 (24, 16)"),
        (lambda t: t.update({NORM: torch.ones(16).half()}), f"'{NORM}' is F16, expected F32"),
    ],
    ids=["missing", "extra", "short", "renamed", "shape", "type"],
)
def test_weights_of_another_architecture_are_named(
    folder: Path, change: Callable[[dict], object], problem: str
) -> None:
    rewrite_weights(folder, change)
    assert problem in error_of(lambda: read_network(folder, read_manifest(folder)))


def header(fields: dict) -> bytes:
    text = json.dumps(fields).encode()
    return len(text).to_bytes(8, "little") + text


HUGE = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
OVERLAP = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04pickle.",
        (1 << 60).to_bytes(8, "little") + b"{}",
        header({NORM: HUGE}),
        header({NORM: OVERLAP, "b": OVERLAP}) + bytes(8),
        header({NORM: OVERLAP}) + bytes(16),
        header({NORM: {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}) + bytes(8),
    ],
    ids=["empty", "pickle", "long-header", "huge", "overlap", "hole", "negative"],
)
def test_hostile_weights_file_is_refused(folder: Path, content: bytes) -> None:
    replace_file(folder, "model.safetensors", content.ljust(40_000, b"\0"))
    message = error_of(lambda: read_network(folder, read_manifest(folder)))
    assert "model.safetensors: is not a whole safetensors file" in message


def test_linked_file_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in error_of(lambda: read_network(folder, read_manifest(folder)))


@pytest.mark.parametrize("name", ["/etc/hostname", "../tokenizer/tokenizer.json", "a//b", "C:\\x"])
def test_file_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    edit(folder, lambda plain: plain["files"].update({name: {"bytes": 1, "sha256": ""}}))
    assert "names a file outside the folder" in error_of(lambda: read_all(folder))


def test_folder_without_manifest_is_not_complete(tmp_path: Path) -> None:
    message = error_of(lambda: read_manifest(tmp_path))
    assert "not a complete model folder: it has no nas.json" in message


def test_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    edit(folder, lambda plain: plain.update(format_version=2))
    assert "pip install --upgrade" in error_of(lambda: read_manifest(folder))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: p.pop("format_version"), "format_version: got None"),
        (lambda p: p.pop("architecture"), "missing field"),
        (lambda p: p.update(more=1), "unknown field 'more'"),
        (lambda p: p["architecture"].update(family="nope"), "unknown family 'nope'"),
        (lambda p: p["architecture"]["shape"].update(d_ff=1 << 40), "d_ff: got 1099511627776"),
        (lambda p: p["task_spec"].update(vocab_size=1 << 40), "task_spec.vocab_size: got"),
        (lambda p: p["task_spec"].update(context=0), "task_spec.context: got 0"),
        (lambda p: p["task_spec"].update(eos_token_id=257), "task_spec.eos_token_id: got 257"),
        (lambda p: p["metrics"]["val"].update(loss=10**400), "too large"),
        (lambda p: p["metrics"]["val"].update(loss=float("nan")), "NaN is no number of JSON"),
        (lambda p: p.pop("files"), "names no file 'model.safetensors'"),
    ],
)
def test_manifest_that_describes_no_model_is_refused(
    folder: Path, change: Callable[[dict], object], problem: str
) -> None:
    edit(folder, change)
    message = error_of(lambda: read_network(folder, read_manifest(folder)))
    assert "nas.json: " in message
    assert problem in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "is not JSON"),
        (b'{"a": 1, "a": 1}', "the key 'a' is there twice"),
        (b'{"a": 1e999}', "1e999 is no number of JSON"),
        (b"[]", "expected a mapping, got list"),
        (b" " * (1 << 20) + b"{}", "is larger than 1048576 bytes"),
    ],
    ids=["cut", "not-text", "deep", "digits", "twice", "infinite", "list", "large"],
)
def test_unreadable_manifest_is_refused(folder: Path, content: bytes, problem: str) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert problem in error_of(lambda: read_manifest(folder))


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (torch.full((1, 4), 300), "ids outside 0 to 256"),
        (torch.zeros(1, 99, dtype=torch.long), "ids beyond the context of 24"),
        (torch.zeros(1, 4), "that are no input of the model"),
    ],
    ids=["vocabulary", "length", "type"],
)
def test_golden_input_that_the_model_cannot_take_is_refused(
    folder: Path, ids: torch.Tensor, problem: str
) -> None:
    other = folder.parent / "other.safetensors"
    save_file({"ids": ids, "logits": torch.zeros(1, 4, 257)}, other)
    replace_file(folder, "golden.safetensors", other.read_bytes())
    manifest = read_manifest(folder)
    network = read_network(folder, manifest)
    assert problem in error_of(lambda: verify_golden(network, folder, manifest))


def test_manifest_writes_only_what_is_set() -> None:
    bare = Manifest(
        architecture=ARCHITECTURE, task_spec=SPEC, files={"a": FileInfo(bytes=1, sha256="b")}
    )
    plain = json.loads(bare.to_json())
    assert set(plain) == {"format_version", "architecture", "task_spec", "files"}
