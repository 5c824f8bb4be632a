"""Stock transformers folders of families that we know: found, and described as our own are.

Their weights are read by `stock_weights`. Like our own, such a folder is untrusted input.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.artifact.bounds import MAX_TEXT_BYTES, check_shape, check_task_spec
from nas.artifact.folder import broken, plain_file, read_json
from nas.artifact.manifest import (
    GOLDEN,
    PROCESSOR_FILES,
    Manifest,
    file_info,
    is_model_folder,
    read_manifest,
)
from nas.errors import ArtifactError, InputError
from nas.families import cost_of
from nas.families.native import MAX_LABELS, Native, NativeConfig, native_of
from nas.records import Architecture

CONFIG = "config.json"
MAX_CONFIG_BYTES = 1 << 22  # also of an index; 21,841 classes of ImageNet take 1.7 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """A stock folder.

    Attributes:
        manifest: As `nas.json` would describe it.
        native: How its weights are named.
        fresh_head: Whether it gets a new classification head.
    """

    manifest: Manifest
    native: Native
    fresh_head: bool


def is_stock_folder(folder: Path) -> bool:
    """Say whether a folder has `config.json` and is none of ours, not even an incomplete one."""
    has_config = os.path.isfile(folder / CONFIG)  # noqa: PTH113 - False, not an error, for odd names
    return has_config and not is_model_folder(folder) and not (folder / GOLDEN).exists()


def holds_model(folder: Path) -> bool:
    """Say whether a folder is a complete model folder or a stock one."""
    return is_model_folder(folder) or is_stock_folder(folder)


def read_architecture(folder: Path) -> Architecture:
    """Return the architecture of a model folder or a stock one; no weights are read.

    Raises:
        ArtifactError: If it is neither, or describes no model that we know.
    """
    if is_stock_folder(folder):
        return read_stock(folder).manifest.architecture
    return read_manifest(folder).architecture


def read_stock(folder: Path, labels: Sequence[str] | None = None) -> Stock:
    """Read and check `config.json` and what is there of a tokenizer or image preprocessor.

    Args:
        folder: A stock folder.
        labels: Names of the classes of a new classification head.

    Raises:
        ArtifactError: If it is unreadable, or has a setting that the family does not compute.
        InputError: If the labels are none.
    """
    names = None if labels is None else _checked(labels)
    config = _config(folder, names)
    native = native_of(config)
    if names is not None and not native.headless:
        raise InputError("labels: are for models that classify, of which this is none")
    try:
        shape, spec = native.read(config)
        architecture = Architecture(family=shape.family, shape=shape.canonical())
        check_task_spec(spec)
        check_shape(architecture, spec)
    except ArtifactError:
        raise
    except InputError as error:
        raise broken(folder, CONFIG, str(error)) from error
    manifest = Manifest(
        architecture=architecture,
        task_spec=spec,
        params=int(cost_of(architecture, spec, context=spec.context, batch=1)["params"]),
        files={name: file_info(path) for name, path in _processor(folder).items()},
    )
    return Stock(manifest=manifest, native=native, fresh_head=names is not None)


def _config(folder: Path, labels: tuple[str, ...] | None) -> NativeConfig:
    plain = read_json(folder, CONFIG, most=MAX_CONFIG_BYTES)
    return NativeConfig(plain, where=str(folder / CONFIG), labels=labels)


def _processor(folder: Path) -> dict[str, Path]:
    found = {}
    for name in PROCESSOR_FILES:
        if os.path.lexists(folder / name):
            found[name], size = plain_file(folder, name)
            if size > MAX_TEXT_BYTES:
                raise broken(folder, name, f"is larger than {MAX_TEXT_BYTES} bytes")
    return found


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    names = () if isinstance(labels, str) else tuple(labels)
    if not 2 <= len(names) <= MAX_LABELS or not all(isinstance(name, str) for name in names):
        raise InputError(f"labels: got {labels!r}, expected the names of two classes or more")
    if len(set(names)) < len(names):
        raise InputError("labels: a name is given twice")
    return names
