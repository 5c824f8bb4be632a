"""Weights as a safetensors file, and networks without a wasted copy.

Tensors are written in the order of the network's state dict, so that the parts of a fused
projection lie side by side and a mapped file needs no copy at all.
Format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.artifact.bounds import MAX_HEADER_BYTES, WEIGHT_BYTES, stored_params
from nas.artifact.folder import broken
from nas.artifact.manifest import WEIGHTS, Manifest, file_path
from nas.errors import ArtifactError
from nas.families import module_class, shape_of
from nas.records import Architecture, TaskSpec

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # name, type, shape

# Threads that read a file to see whether its weights are finite. One pass at the speed of memory:
# 104M parameters, 2 busy cores: the time of `from_pretrained` x .38 without it, .72 with it.
_READERS = 2
_ALIGNMENT = 64  # bytes; a cache line, so that vector loads from a mapped file are aligned


def empty_network(architecture: Architecture, task_spec: TaskSpec) -> nn.Module:
    """Return the architecture's network on the meta device: shapes without memory."""
    with torch.device("meta"), _NoInitialisation():
        network: nn.Module = module_class(architecture.family)(shape_of(architecture), task_spec)
    return network


class _NoInitialisation(TorchFunctionMode):
    """Leaves out `torch.nn.init`: on meta tensors it would cost more than loading the weights.

    The first normal draw on the meta device imports torch's compiler, for 2 s and more.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return None
        return func(*args, **(kwargs or {}))


def fill_network(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Give an empty network these weights, not copies of them, and return it in eval mode."""
    network.load_state_dict(state, assign=True)
    return network.eval()


def read_network(folder: Path, manifest: Manifest) -> nn.Module:
    """Return the folder's network on the CPU, in eval mode.

    The weights are mapped into memory, read once to see that all are finite, and copied when first
    changed: the file on disk never changes.

    Raises:
        ArtifactError: If the file is missing, damaged, not of this architecture, or has weights
            that are not finite.
    """
    path = file_path(folder, manifest, WEIGHTS)
    found = read_header(folder, path)
    _check_count(folder, manifest, found)
    values = _map_floats(folder, path, found)
    with ThreadPoolExecutor(_READERS) as readers:  # while the network is built
        sums = [readers.submit(torch.sum, part) for part in values.chunk(_READERS)]
        network = empty_network(manifest.architecture, manifest.task_spec)
        expected = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
        _compare(folder, path.name, found, expected)
    sizes = [math.prod(shape) for _, shape in found.values()]
    state = {
        name: part.view(shape)
        for (name, (_, shape)), part in zip(found.items(), values.split(sizes), strict=True)
    }
    if not all(math.isfinite(part.result()) for part in sums):
        _check_finite(folder, path.name, state)
    return fill_network(network, state)


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
        with safe_open(path, framework="pt") as tensors:
            parts = [(name, tensors.get_slice(name)) for name in tensors.offset_keys()]
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts}
    except (SafetensorError, OSError, ValueError) as error:
        name = path.relative_to(folder).as_posix()
        raise broken(folder, name, f"is not a whole safetensors file ({error})") from error


def first_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that has a NaN or an infinity; None: there is none."""
    for name, part in state.items():
        # A sum costs no memory and is not finite if a term is not; large terms alone do that too.
        if not math.isfinite(part.sum()) and not bool(part.isfinite().all()):
            return name
    return None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write fp32 and int64 tensors on the CPU as a safetensors file, in the order given."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": "F32" if tensor.is_floating_point() else "I64",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.contiguous().numpy().data)


def _check_count(folder: Path, manifest: Manifest, found: Tensors) -> None:
    """Raise, before a network is built, where the file holds more or fewer weights than it has."""
    expected = stored_params(manifest.architecture, manifest.task_spec)
    stored = sum(math.prod(shape) for _, shape in found.values())
    if expected is not None and stored != expected:
        problem = f"has {stored} weights in {len(found)} tensors, expected {expected}"
        raise _mismatch(folder, WEIGHTS, problem)


def _map_floats(folder: Path, path: Path, found: Tensors) -> Tensor:
    """Return all numbers of a file of fp32 tensors as one private map, in the order of the file."""
    for name, (dtype, _) in found.items():
        if dtype != "F32":
            raise _mismatch(folder, path.name, f"'{name}' is {dtype}, expected F32")
    size = path.stat().st_size
    if size % WEIGHT_BYTES:
        raise broken(folder, path.name, "has weights that are not aligned")
    count = sum(math.prod(shape) for _, shape in found.values())
    flat = torch.from_file(str(path), size=size // WEIGHT_BYTES, dtype=torch.float32)
    return flat[flat.numel() - count :]


def _check_finite(folder: Path, name: str, state: Mapping[str, Tensor]) -> None:
    if (bad := first_not_finite(state)) is not None:
        raise broken(folder, name, f"'{bad}' has weights that are not finite")


def _compare(
    folder: Path,
    name: str,
    found: Tensors,
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
