"""What a safetensors file says that it holds, checked before any tensor is read; without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from nas.artifact.bounds import MAX_HEADER_BYTES, WEIGHT_BYTES, stored_params
from nas.artifact.folder import broken
from nas.artifact.manifest import WEIGHTS, Manifest, file_path
from nas.errors import ArtifactError

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # name, type, shape
Shapes = Mapping[str, tuple[int, ...]]


def read_header(folder: Path, path: Path) -> Tensors:
    """Return type and shape of each tensor of a safetensors file, in the order of the file.

    `safe_open` itself refuses offsets that overlap, leave a hole or end beyond the file, and
    types and shapes that do not fill them.

    Raises:
        ArtifactError: If it is none, or its header is longer than `MAX_HEADER_BYTES`.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes, at most {MAX_HEADER_BYTES} are read")
        with safe_open(path, framework="numpy") as tensors:
            parts = [(name, tensors.get_slice(name)) for name in tensors.offset_keys()]
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts}
    except (SafetensorError, OSError, ValueError) as error:
        name = path.relative_to(folder).as_posix()
        raise broken(folder, name, f"is not a whole safetensors file ({error})") from error


def read_shapes(folder: Path, manifest: Manifest) -> tuple[Path, Shapes]:
    """Return the file of weights, and the shape of each in the order of the file.

    It needs no network: what is as large as the architecture says may be built.

    Raises:
        ArtifactError: If the file is missing or damaged, or holds other than fp32, or more or
            fewer weights than the architecture has.
    """
    path = file_path(folder, manifest, WEIGHTS)
    found = read_header(folder, path)
    expected = stored_params(manifest.architecture, manifest.task_spec)
    stored = sum(math.prod(shape) for _, shape in found.values())
    if expected is not None and stored != expected:
        problem = f"has {stored} weights in {len(found)} tensors, expected {expected}"
        raise _mismatch(folder, problem)
    for name, (dtype, _) in found.items():
        if dtype != "F32":
            raise _mismatch(folder, f"'{name}' is {dtype}, expected F32")
    if path.stat().st_size % WEIGHT_BYTES:
        raise broken(folder, WEIGHTS, "has weights that are not aligned")
    return path, {name: shape for name, (_, shape) in found.items()}


def check_shapes(folder: Path, found: Shapes, expected: Shapes) -> None:
    """Compare names and shapes of stored weights with those of the architecture.

    Raises:
        ArtifactError: At the first that differs.
    """
    problems = [f"lacks '{name}'" for name in expected if name not in found]
    problems += [f"has an unexpected '{name}'" for name in found if name not in expected]
    for name, shape in found.items():
        if name in expected and shape != expected[name]:
            problems.append(f"'{name}' is F32 {shape}, expected F32 {expected[name]}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise _mismatch(folder, problems[0] + more)


def not_finite(folder: Path, name: str) -> ArtifactError:
    """Return the error that names a weight with a NaN or an infinity."""
    return broken(folder, WEIGHTS, f"'{name}' has weights that are not finite")


def _mismatch(folder: Path, problem: str) -> ArtifactError:
    return broken(folder, WEIGHTS, f"{problem}: not the weights of the architecture in nas.json")
