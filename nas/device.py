"""Which device there is and what it can do. torch is imported only when a function is called."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import DeviceError, InputError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")  # that a model's weights can be held in
DEVICE_NAME = r"auto|cpu|mps|cuda(:\d{1,3})?"  # names that could be one


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A CUDA device as a process sees it."""

    number: int  # cuda:N
    free_bytes: int


def check_device_name(name: str) -> str:
    """Return `name` if it could be a device.

    Raises:
        DeviceError: If it is not auto, cpu, cuda, cuda:N or mps.
    """
    if not re.fullmatch(DEVICE_NAME, name):
        raise DeviceError(f"unknown device '{name}'; choose auto, cpu, cuda, cuda:N or mps")
    return name


def resolve_device(name: str) -> str:
    """Return the device that `name` stands for on this machine; `auto` takes the best.

    Raises:
        DeviceError: If the name is unknown or the device is not there.
    """
    import torch

    check_device_name(name)
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"device '{name}' is not here: torch sees {count} CUDA devices")
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' is not here: torch sees no Apple GPU")
    return name


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return the float type that weights are held in.

    Args:
        dtype: One of `DTYPES`, as text or torch's own.

    Raises:
        InputError: If it is another.
    """
    import torch

    name = str(dtype).removeprefix("torch.")
    if not isinstance(dtype, (str, torch.dtype)) or name not in DTYPES:
        raise InputError(f"dtype: got {dtype!r}, expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    found: torch.dtype = getattr(torch, name)
    return found


def has_fast_bf16(device: str) -> bool:
    """Say whether the device has instructions for bf16 products."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def cpu_count() -> int:
    """Return the CPUs that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
