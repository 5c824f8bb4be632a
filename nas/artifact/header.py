"""What a safetensors file says that it holds, checked before any tensor is read; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from nas.artifact.manifest import broken
from nas.errors import ArtifactError

FLOAT_BYTES = 4


def check_header(folder: Path, path: Path, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the names by offset, once the file holds exactly the expected fp32 tensors.

    `safe_open` itself refuses a header that is too long, offsets that overlap, leave a hole or
    end beyond the file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names: list[str] = file.offset_keys()
            found = {
                name: (part.get_dtype(), tuple(part.get_shape()))
                for name, part in ((name, file.get_slice(name)) for name in names)
            }
    except (SafetensorError, OSError, ValueError) as error:
        raise broken(folder, path.name, f"is not a whole safetensors file ({error})") from error
    _compare(folder, path.name, found, expected)
    if path.stat().st_size % FLOAT_BYTES:
        raise broken(folder, path.name, "has weights that are not aligned")
    return names


def _compare(
    folder: Path,
    name: str,
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise where names, types or shapes differ from those of the architecture."""
    problems: list[str] = []
    problems += [f"lacks '{key}'" for key in expected if key not in found]
    problems += [f"has an unexpected '{key}'" for key in found if key not in expected]
    for key, (dtype, shape) in found.items():
        if key in expected and (dtype, shape) != ("F32", expected[key]):
            problems.append(f"'{key}' is {dtype} {shape}, expected F32 {expected[key]}")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise _mismatch(folder, name, problems[0] + more)


def _mismatch(folder: Path, name: str, problem: str) -> ArtifactError:
    return broken(folder, name, f"{problem}: not the weights of the architecture in nas.json")
