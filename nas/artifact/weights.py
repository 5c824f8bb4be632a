"""Weights as a safetensors file, and networks without a wasted copy.

Tensors are written in the order of the network's state dict, so that the parts of a fused
projection lie side by side and a mapped file needs no copy at all.
Format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.artifact.header import FLOAT_BYTES, check_header
from nas.artifact.manifest import WEIGHTS, Manifest, file_path
from nas.families import module_class, shape_of
from nas.records import Architecture, TaskSpec

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

    The weights are mapped into memory, read when first used and copied when first changed: the
    file on disk never changes.

    Raises:
        ArtifactError: If the file is missing, damaged, or not of this architecture.
    """
    network = empty_network(manifest.architecture, manifest.task_spec)
    expected = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    path = file_path(folder, manifest, WEIGHTS)
    return fill_network(network, _map_floats(folder, path, expected))


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


def _map_floats(
    folder: Path, path: Path, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return all tensors of a file as views of one private map, in the order of the file."""
    names = check_header(folder, path, expected)
    sizes = {name: math.prod(expected[name]) for name in names}
    flat = torch.from_file(str(path), size=path.stat().st_size // FLOAT_BYTES, dtype=torch.float32)
    views = torch.split(flat[flat.numel() - sum(sizes.values()) :], list(sizes.values()))
    return {name: view.view(expected[name]) for name, view in zip(names, views, strict=True)}
