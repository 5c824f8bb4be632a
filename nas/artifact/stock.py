"""Stock transformers folders of families that we know: found, and described as our own are.

Their weights are read by `stock_weights`. Like our own, such a folder is untrusted input.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.artifact.manifest import (
    GOLDEN,
    PROCESSOR_FILES,
    Manifest,
    broken,
    check_task_spec,
    file_info,
    inside,
    is_model_folder,
    read_manifest,
)
from nas.errors import ArtifactError, InputError
from nas.families import cost_of
from nas.families.native import MAX_LABELS, Native, NativeConfig, native_of
from nas.records import Architecture

CONFIG = "config.json"
MAX_CONFIG_BYTES = 1 << 24  # 21,841 classes of ImageNet take 1.7 MB
MAX_PROCESSOR_BYTES = 1 << 27  # the largest vocabularies known take 35 MB


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
    config = NativeConfig(read_json(folder, CONFIG), where=str(folder / CONFIG), labels=names)
    native = native_of(config)
    if names is not None and not native.headless:
        raise InputError("labels: are for models that classify, of which this is none")
    try:
        shape, spec = native.read(config)
        architecture = Architecture(family=shape.family, shape=shape.canonical())
        check_task_spec(spec)
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


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the mapping that a JSON file of the folder holds.

    Raises:
        ArtifactError: If it cannot be read, is too large or holds something else.
    """
    try:
        with inside(folder, name).open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise broken(folder, name, f"is larger than {MAX_CONFIG_BYTES} bytes")
        plain = json.loads(content)
    except OSError as error:
        raise broken(folder, name, f"cannot be read ({error.strerror})") from error
    except ArtifactError:
        raise
    except (ValueError, RecursionError) as error:
        raise broken(folder, name, f"is not JSON ({error})") from error
    if not isinstance(plain, dict):
        raise broken(folder, name, f"expected a mapping, got {type(plain).__name__}")
    return plain


def _processor(folder: Path) -> dict[str, Path]:
    found = {}
    for name in PROCESSOR_FILES:
        if os.path.lexists(folder / name):
            found[name] = inside(folder, name)
            if found[name].stat().st_size > MAX_PROCESSOR_BYTES:
                raise broken(folder, name, f"is larger than {MAX_PROCESSOR_BYTES} bytes")
    return found


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    names = () if isinstance(labels, str) else tuple(labels)
    if not 2 <= len(names) <= MAX_LABELS or not all(isinstance(name, str) for name in names):
        raise InputError(f"labels: got {labels!r}, expected the names of two classes or more")
    if len(set(names)) < len(names):
        raise InputError("labels: a name is given twice")
    return names
