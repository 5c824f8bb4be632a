"""The record `nas.json`: what a model folder holds, where it came from, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nas.errors import ArtifactError, InputError, NotFoundError
from nas.families import shape_class, shape_of
from nas.plugins import is_own
from nas.records import (
    HEADS,
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

# A folder's numbers are untrusted: nothing beyond these is read or built.
MAX_MANIFEST_BYTES = 1 << 20
MAX_VOCAB_SIZE = 1 << 24
MAX_CONTEXT = 1 << 20
MAX_IMAGE_SIZE = 1 << 13
MAX_CHANNELS = 1 << 10


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
        trust: Whether a family of the user's own may be imported, which runs its code.

    Raises:
        ArtifactError: If it is missing, unreadable, of a newer version or describes no model.
    """
    plain = _read_json(folder)
    version = plain.pop("format_version", None)
    if type(version) is not int or version < 1:
        raise broken(folder, MANIFEST, f"format_version: got {version!r}, expected an integer >= 1")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{folder / MANIFEST}: format_version {version} is newer than this nas, which reads "
            f"up to {FORMAT_VERSION}; upgrade with: pip install --upgrade transformer-nas"
        )
    try:
        manifest = from_plain(Manifest, plain)
        if is_own(manifest.architecture.family):
            _check_own(folder, manifest.architecture.family, trust)
        shape_of(manifest.architecture)
        check_task_spec(manifest.task_spec)
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
    path = inside(folder, name)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise broken(folder, name, f"cannot be read ({error.strerror})") from error
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


def broken(folder: Path, name: str, problem: str) -> ArtifactError:
    """Return the error that names a file of a model folder and what is wrong with it."""
    line = " ".join(problem.split())  # a library's message may have several lines
    return ArtifactError(f"{folder / name}: {line}; restore the folder from its source")


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


def _read_json(folder: Path) -> dict[str, Any]:
    if not is_model_folder(folder):
        raise ArtifactError(
            f"{folder}: not a complete model folder: it has no {MANIFEST}, which is written last"
        )
    try:
        with inside(folder, MANIFEST).open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
        if len(content) > MAX_MANIFEST_BYTES:
            raise broken(folder, MANIFEST, f"is larger than {MAX_MANIFEST_BYTES} bytes")
        plain = json.loads(content, parse_constant=_refuse_constant)
    except OSError as error:
        raise broken(folder, MANIFEST, f"cannot be read ({error.strerror})") from error
    except ArtifactError:
        raise
    except (ValueError, RecursionError) as error:
        raise broken(folder, MANIFEST, f"is not JSON ({error})") from error
    if not isinstance(plain, dict):
        raise broken(folder, MANIFEST, f"expected a mapping, got {type(plain).__name__}")
    return plain


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file within a folder, reached over no link.

    Raises:
        ArtifactError: If the name leads out of the folder, or there is no such file.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        raise broken(folder, MANIFEST, f"names a file outside the folder: {name!r}")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise broken(folder, name, "is a link; links are not followed")
    if not path.is_file():
        raise broken(folder, name, "is missing" if not path.exists() else "is not a file")
    return path


def check_task_spec(spec: TaskSpec) -> None:
    """Check a task spec that a folder states.

    Raises:
        InputError: If a size is absurd, or the parts contradict each other.
    """
    if spec.head not in HEADS:
        raise InputError(f"task_spec.head: got '{spec.head}', expected one of {', '.join(HEADS)}")
    is_image = spec.head == "classify_image"
    least = 0 if is_image else 1
    for name, low, limit in (
        ("vocab_size", least, MAX_VOCAB_SIZE),
        ("context", 1, MAX_CONTEXT),
        ("image_size", 1 - least, MAX_IMAGE_SIZE),
        ("n_channel", 1 - least, MAX_CHANNELS),
        ("chunk_overlap", 0, max(0, spec.context - 1)),
    ):
        value = getattr(spec, name)
        if not low <= value <= limit:
            raise InputError(f"task_spec.{name}: got {value}, expected {low} to {limit}")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(spec, name)
        if value is not None and not 0 <= value < spec.vocab_size:
            raise InputError(f"task_spec.{name}: got {value}, expected 0 to {spec.vocab_size - 1}")
    if spec.head.startswith("classify") and not spec.labels:
        raise InputError("task_spec.labels: got none, expected the names of the classes")
