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
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.artifact.bounds import WEIGHT_BYTES
from nas.artifact.header import Shapes, check_shapes, not_finite, read_shapes
from nas.artifact.manifest import Manifest
from nas.families import module_class, shape_of
from nas.records import Architecture, TaskSpec

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
    path, found = read_shapes(folder, manifest)
    values = _map_floats(path, found)
    with ThreadPoolExecutor(_READERS) as readers:  # while the network is built
        sums = [readers.submit(torch.sum, part) for part in values.chunk(_READERS)]
        network = empty_network(manifest.architecture, manifest.task_spec)
        expected = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
        check_shapes(folder, found, expected)
    parts = values.split([math.prod(shape) for shape in found.values()])
    state = {
        name: part.view(shape) for (name, shape), part in zip(found.items(), parts, strict=True)
    }
    all_finite = all(math.isfinite(part.result()) for part in sums)
    if not all_finite and (bad := first_not_finite(state)) is not None:
        raise not_finite(folder, bad)
    return fill_network(network, state)


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


def _map_floats(path: Path, found: Shapes) -> Tensor:
    """Return all numbers of a file of fp32 tensors as one private map, in the order of the file."""
    count = sum(math.prod(shape) for shape in found.values())
    size = path.stat().st_size // WEIGHT_BYTES
    return torch.from_file(str(path), size=size, dtype=torch.float32)[size - count :]
