"""The record `nas.json`: what a model folder holds, where it came from, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nas.artifact.bounds import (
    MAX_FILE_BYTES,
    MAX_TEXT_BYTES,
    TEXT_ENDINGS,
    check_recipe,
    check_shape,
    check_size,
    check_task_spec,
    golden_most,
    weights_range,
)
from nas.artifact.folder import broken, plain_file, read_json
from nas.errors import ArtifactError, InputError, NotFoundError
from nas.families import shape_class
from nas.plugins import allow, is_own
from nas.records import (
    Architecture,
    Evaluation,
    Job,
    Numerics,
    Recipe,
    TaskSpec,
    from_plain,
    to_plain,
)

FORMAT_VERSION = 1
MANIFEST = "nas.json"
WEIGHTS = "model.safetensors"
GOLDEN = "golden.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR_FILES = (*TOKENIZER_FILES, PREPROCESSOR)  # what a model's inputs pass
PADDED = "exports/hf-padded"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """Size and hash of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportInfo:
    """One export of the model, as its last comparison with the model found it.

    Attributes:
        path: Its folder, within the model folder if it is there.
        difference: Largest difference of logits.
        bound: The largest that passes.
        passed: Whether it computes what the model computes.
        greedy_tokens: Tokens that both wrote; 0 where nothing is written.
        figures: What else was measured, by name.
        created_at: When it was compared: UTC, ISO 8601.
    """

    path: str
    difference: float
    bound: float
    passed: bool
    greedy_tokens: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    created_at: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What `nas.json` says; a model that was never trained has only the first two fields.

    Attributes:
        base: What training began from, of a fine-tuned model: `candidate_id`, `study` and the
            sha256 of its `weights`, as far as they are known.
        tokens: Tokens that the weights were trained on, since the base.
        metrics: Split, name, value.
        numerics: How the arithmetic of the training was done.
        params: Stored weights.
        versions: Of nas, torch and python, when the folder was written.
        created_at: UTC, ISO 8601.
        files: Every other file of the folder by its path within it, but those of exports that
            were written later.
        exports: Those, by format.
    """

    architecture: Architecture
    task_spec: TaskSpec
    candidate_id: str = ""
    study: str = ""
    recipe: Recipe | None = None
    seed: int | None = None
    data_fingerprint: str = ""
    base: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    numerics: Numerics | None = None
    params: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    created_at: str = ""
    files: Mapping[str, FileInfo] = field(default_factory=dict)
    exports: Mapping[str, ExportInfo] = field(default_factory=dict)

    @classmethod
    def of_job(cls, job: Job, evaluation: Evaluation) -> Self:
        """Return the manifest of a trained candidate; writing the folder fills in the rest.

        Args:
            job: What was trained, and how.
            evaluation: The measurement at its end.
        """
        return cls(
            architecture=job.candidate.architecture,
            task_spec=job.task_spec,
            candidate_id=job.candidate.id,
            study=job.study,
            recipe=job.candidate.recipe,
            seed=job.candidate.seed,
            data_fingerprint=job.candidate.data_fingerprint,
            tokens=evaluation.tokens,
            metrics=evaluation.metrics,
            numerics=job.numerics,
        )

    def to_json(self) -> str:
        """Return the content of `nas.json`."""
        plain = {"format_version": FORMAT_VERSION, **to_plain(self)}
        return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def is_model_folder(folder: Path) -> bool:
    """Say whether `folder` is a complete model folder: it has `nas.json`, written last."""
    return os.path.isfile(folder / MANIFEST)  # noqa: PTH113 - False, not an error, for odd names


def read_manifest(folder: Path, *, trust: bool = False) -> Manifest:
    """Read and check `nas.json`; no other file is opened.

    Args:
        folder: A model folder.
        trust: Whether family and task of the user's own may be imported, which runs their code.

    Raises:
        ArtifactError: If it is missing, unreadable, of a newer version, describes no model, or
            claims sizes beyond those of `bounds`.
    """
    if not is_model_folder(folder):
        raise ArtifactError(
            f"{folder}: not a complete model folder: it has no {MANIFEST}, which is written last"
        )
    plain = read_json(folder, MANIFEST)
    _check_version(folder, plain.pop("format_version", None))
    try:
        manifest = from_plain(Manifest, plain)
        if trust:
            allow([manifest.architecture.family, manifest.task_spec.task])
        if is_own(manifest.architecture.family):
            _check_own(folder, manifest.architecture.family, trust)
        check_task_spec(manifest.task_spec)
        check_shape(manifest.architecture, manifest.task_spec)
        if manifest.recipe is not None:
            check_recipe(manifest.recipe)
        _check_sizes(manifest)
    except ArtifactError:
        raise
    except (TypeError, OverflowError, InputError) as error:
        raise broken(folder, MANIFEST, str(error)) from error
    return manifest


def file_path(folder: Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a file that the manifest names, after checking place and size.

    Raises:
        ArtifactError: If it is not in the manifest, missing, outside the folder, reached over a
            link, or not as long as it should be.
    """
    if name not in manifest.files:
        raise broken(folder, MANIFEST, f"names no file '{name}'")
    path, size = plain_file(folder, name)
    expected = manifest.files[name].bytes
    if size != expected:
        raise broken(folder, name, f"has {size} bytes, expected {expected}")
    return path


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare size and sha256 of every file with the manifest.

    Raises:
        ArtifactError: At the first file that is missing or altered.
    """
    for name, info in manifest.files.items():
        path = file_path(folder, manifest, name)
        if file_info(path).sha256 != info.sha256:
            raise broken(folder, name, "was altered: its sha256 is not the one in nas.json")


def file_info(path: Path) -> FileInfo:
    """Return size and hash of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return FileInfo(bytes=path.stat().st_size, sha256=digest.hexdigest())


def _check_version(folder: Path, version: object) -> None:
    if type(version) is not int or version < 1:
        raise broken(folder, MANIFEST, f"format_version: got {version!r}, expected an integer >= 1")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{folder / MANIFEST}: format_version {version} is newer than this nas, which reads "
            f"up to {FORMAT_VERSION}; upgrade with: pip install --upgrade transformer-nas"
        )


def _check_own(folder: Path, family: str, trust: bool) -> None:
    if not trust:
        raise ArtifactError(
            f"{folder}: its family '{family}' is code outside nas, which loading would import and "
            "run; if you know where the folder comes from, load it with trust=True"
        )
    try:
        shape_class(family)
    except NotFoundError as error:
        raise ArtifactError(f"{folder}: its family {error}") from error


def _check_sizes(manifest: Manifest) -> None:
    """Raise where a file is said to be larger than it can be, or the weights smaller."""
    for name, info in manifest.files.items():
        least, most = 0, MAX_TEXT_BYTES if name.endswith(TEXT_ENDINGS) else MAX_FILE_BYTES
        if name == WEIGHTS:
            least, most = weights_range(manifest.architecture, manifest.task_spec)
        elif name == GOLDEN:
            most = golden_most(manifest.task_spec)
        check_size(name, info.bytes, least, most)
