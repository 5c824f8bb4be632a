"""Write a model folder: whole under a temporary name, then renamed into place."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.artifact.card import NativeForm, model_card
from nas.artifact.golden import make_golden
from nas.artifact.manifest import (
    GOLDEN,
    MANIFEST,
    PADDED,
    PROCESSOR_FILES,
    WEIGHTS,
    ExportInfo,
    Manifest,
    file_info,
    read_manifest,
)
from nas.artifact.weights import empty_network, fill_network, first_not_finite, write_tensors
from nas.errors import ArtifactError
from nas.families import Shape, module_class, shape_of
from nas.records import Architecture, TaskSpec

State = Mapping[str, Tensor]

# Of native classes that write text, and what their `generation_config.json` repeats.
GENERATING = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
GENERATION_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What was written: the whole folder's size and the hash of its manifest."""

    bytes: int
    sha256: str


def write_model(
    folder: Path,
    state: State,
    manifest: Manifest,
    *,
    processor_dir: Path | None = None,
) -> Written:
    """Write a complete model folder, or leave what was there.

    Args:
        folder: Where it goes; a folder that is there is replaced.
        state: The network's state dict, native names, on any device; stored as fp32.
        manifest: What the model is and where it came from. `params`, `versions`, `created_at`
            and `files` are filled in; metrics that are not finite are left out.
        processor_dir: A folder whose tokenizer or image preprocessor is copied.

    Raises:
        ArtifactError: If the folder cannot be written, what is copied cannot be read, or a weight
            is not finite.
    """
    folder, state = folder.resolve(), _to_cpu(state)
    if (bad := first_not_finite(state)) is not None:
        raise ArtifactError(
            f"{folder}: not written: '{bad}' has weights that are not finite, which no load takes; "
            "train with a lower rate"
        )
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that had this number and died
        temporary.mkdir(parents=True)
        written = _write_files(temporary, state, manifest, processor_dir)
        put_in_place(temporary, folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be written ({error.strerror}: {error.filename}); "
            "free the place or choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written


def _write_files(
    folder: Path, state: State, manifest: Manifest, processor_dir: Path | None
) -> Written:
    """Write all files and flush them to the disk, the manifest last."""
    shape, spec = shape_of(manifest.architecture), manifest.task_spec
    golden = _golden(manifest.architecture, spec, state)
    write_tensors(folder / WEIGHTS, state)
    write_tensors(folder / GOLDEN, golden)
    native = _write_forms(folder, state, shape, spec, golden, processor_dir)
    manifest = replace(
        manifest,
        params=sum(weight.numel() for weight in state.values()),
        metrics=_finite(manifest.metrics),
        versions=_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        exports={},  # they were of the weights that were here before
    )
    _write_text(folder / "README.md", model_card(manifest, native))
    return _seal(folder, manifest)


def _write_forms(
    folder: Path,
    state: State,
    shape: Shape,
    spec: TaskSpec,
    golden: State,
    processor_dir: Path | None,
) -> NativeForm | None:
    """Write what transformers reads: the folder itself, a padded copy, or nothing."""
    if (config := shape.native_config(spec)) is not None:
        _write_native(folder, config, processor_dir)
        return NativeForm(where=".", difference=0.0)
    _copy_processor(folder, processor_dir)
    uniform = shape.uniform()
    if (config := uniform.native_config(spec)) is None:
        return None
    padded = import_module(module_class(shape.family).__module__).pad_state(shape, state)
    (folder / PADDED).mkdir(parents=True)
    write_tensors(folder / PADDED / WEIGHTS, padded)
    _write_native(folder / PADDED, config, processor_dir)
    architecture = Architecture(family=shape.family, shape=uniform.canonical())
    logits = _golden(architecture, spec, padded)["logits"]
    return NativeForm(where=PADDED, difference=float((logits - golden["logits"]).abs().max()))


def _seal(folder: Path, manifest: Manifest) -> Written:
    """Flush every file, then write the manifest that names them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        _flush(path)
    files = {path.relative_to(folder).as_posix(): file_info(path) for path in paths}
    _write_text(folder / MANIFEST, replace(manifest, files=files).to_json())
    _flush(folder / MANIFEST)
    sealed = file_info(folder / MANIFEST)
    return Written(
        bytes=sealed.bytes + sum(info.bytes for info in files.values()), sha256=sealed.sha256
    )


def _write_native(folder: Path, config: Mapping[str, Any], processor_dir: Path | None) -> None:
    """Write what transformers needs besides the weights."""
    _write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    generation = {name: config[name] for name in GENERATION_KEYS if config.get(name) is not None}
    if config["architectures"][0].endswith(GENERATING):
        _write_text(folder / "generation_config.json", json.dumps(generation, indent=2) + "\n")
    _copy_processor(folder, processor_dir)


def _golden(architecture: Architecture, spec: TaskSpec, state: State) -> dict[str, Tensor]:
    return make_golden(fill_network(empty_network(architecture, spec), state), spec)


def _copy_processor(folder: Path, processor_dir: Path | None) -> None:
    if processor_dir is None:
        return
    found = [name for name in PROCESSOR_FILES if (processor_dir / name).is_file()]
    if not found:
        raise ArtifactError(f"{processor_dir}: holds neither a tokenizer nor a preprocessor")
    for name in found:
        shutil.copyfile(processor_dir / name, folder / name)


def _to_cpu(state: State) -> dict[str, Tensor]:
    return {name: weight.detach().float().cpu().contiguous() for name, weight in state.items()}


def _finite(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        split: {name: value for name, value in values.items() if math.isfinite(value)}
        for split, values in metrics.items()
    }


def _versions() -> dict[str, str]:
    return {
        "nas": _nas_version(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


@cache
def _nas_version() -> str:
    try:
        return metadata.version("transformer-nas")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a clone


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())


def note_export(folder: Path, name: str, info: ExportInfo) -> None:
    """Put an export into a folder's manifest, which is there whole at any time.

    Raises:
        ArtifactError: If the manifest cannot be read or written.
    """
    manifest = read_manifest(folder, trust=True)  # whoever exported has imported its family
    manifest = replace(manifest, exports={**manifest.exports, name: info})
    part = folder / f".{MANIFEST}.tmp-{os.getpid()}"
    try:
        _write_text(part, manifest.to_json())
        _flush(part)
        part.replace(folder / MANIFEST)
        _flush(folder)
    except OSError as error:
        raise ArtifactError(
            f"{folder / MANIFEST}: cannot be written ({error.strerror}); the export is in place, "
            "but not noted"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename; an older folder is moved aside first and deleted last."""
    _flush_folders(temporary)
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    temporary.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush_folders(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        _flush(Path(path))


def _flush(path: Path) -> None:
    """Wait until the disk has the file or folder; Windows knows no such thing for folders."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
