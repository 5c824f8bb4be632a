"""Weights of stock transformers folders: one safetensors file or several, in any float type.

Names are brought to those of the family's network: a folder of the base model has no prefix, and
some store masks or copies of tied weights besides. Whatever else is there or missing is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from nas.artifact.bounds import MAX_FILE_BYTES
from nas.artifact.folder import broken, plain_file, read_json
from nas.artifact.header import Shapes, read_header
from nas.artifact.manifest import WEIGHTS
from nas.artifact.stock import MAX_CONFIG_BYTES, Stock
from nas.artifact.weights import empty_network, fill_network, first_not_finite
from nas.errors import ArtifactError, InputError
from nas.families import module_class, shape_of
from nas.families.native import Native

INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
STORED = {"F32", "BF16", "F16"}
MAX_FILES = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A stored tensor: where it lies, under which name, and what it is."""

    file: Any
    path: Path
    stored: str
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """Return its numbers.

        Raises:
            ArtifactError: If one of them is not finite.
        """
        tensor: Tensor = self.file.get_tensor(self.stored)
        if first_not_finite({self.stored: tensor}) is not None:
            problem = f"'{self.stored}' has weights that are not finite"
            raise broken(self.path.parent, self.path.name, problem)
        return tensor


def read_stock_network(folder: Path, stock: Stock, dtype: torch.dtype) -> nn.Module:
    """Return the folder's network on the CPU, in eval mode.

    Args:
        folder: A stock folder.
        stock: What `read_stock` returned.
        dtype: Float type of the network's weights.

    Raises:
        ArtifactError: If there are no safe weights, or they are damaged or not of this
            architecture.
    """
    manifest = stock.manifest
    network = empty_network(manifest.architecture, manifest.task_spec)
    expected = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    with ExitStack() as files:
        stored = list(_stored_parts(folder, files))
        parts, copies = _named(folder, stored, expected, stock.native)
        fresh = _check_complete(folder, parts, expected, stock)
        _check_kinds(folder, parts, expected)
        state = {name: parts[name].read().to(dtype) for name in expected if name in parts}
        _check_copies(copies, parts)
    if fresh:
        drawn = _fresh_state(stock)
        state |= {name: drawn[name].to(dtype) for name in fresh}
    return fill_network(network, state)


def _stored_parts(folder: Path, files: ExitStack) -> Iterator[_Part]:
    """Yield all tensors of all weight files, which stay open as long as `files`."""
    for path, wanted in _weight_files(folder).items():
        found = read_header(folder, path)
        file = files.enter_context(safe_open(path, framework="pt"))
        for name, (dtype, shape) in found.items():
            if wanted is not None and name not in wanted:
                raise broken(folder, path.name, f"has '{name}', which {INDEX} does not name")
            yield _Part(file=file, path=path, stored=name, dtype=dtype, shape=shape)


def _weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """Return the weight files, and the names that an index promises of each."""
    if os.path.lexists(folder / WEIGHTS):
        return {_weight_file(folder, WEIGHTS): None}
    if os.path.lexists(folder / INDEX):
        return _indexed(folder)
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickled:
        raise ArtifactError(
            f"{folder}: has its weights only in {pickled[0]}, a pickle, which could run any code "
            "when it is read; write them anew in an environment that trusts it, with transformers' "
            "from_pretrained and save_pretrained"
        )
    raise ArtifactError(f"{folder}: has a config.json, but neither {WEIGHTS} nor {INDEX}")


def _indexed(folder: Path) -> dict[Path, set[str] | None]:
    places = read_json(folder, INDEX, most=MAX_CONFIG_BYTES).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise broken(folder, INDEX, "weight_map: expected a file for each weight")
    names = sorted(set(places.values()))
    if len(names) > MAX_FILES:
        raise broken(folder, INDEX, f"names {len(names)} files, at most {MAX_FILES} are read")
    odd = [name for name in names if not name.endswith(".safetensors")]
    if odd:
        raise broken(folder, INDEX, f"names '{odd[0]}', which is no safetensors file")
    return {
        _weight_file(folder, name): {key for key, place in places.items() if place == name}
        for name in names
    }


def _weight_file(folder: Path, name: str) -> Path:
    path, size = plain_file(folder, name)
    if size > MAX_FILE_BYTES:
        raise broken(folder, name, f"has {size} bytes, at most {MAX_FILE_BYTES} are read")
    return path


def _named(
    folder: Path, stored: list[_Part], expected: Shapes, native: Native
) -> tuple[dict[str, _Part], list[tuple[_Part, str]]]:
    """Return the parts by the network's names, and copies with the name that they are of."""
    parts: dict[str, _Part] = {}
    copies: list[tuple[_Part, str]] = []
    tied, buffers = dict(native.tied), re.compile(native.buffers)
    for part in stored:
        name = _current_name(part.stored, expected, native)
        if name not in expected and buffers.fullmatch(name):
            continue
        if name not in expected and name in tied:
            copies.append((part, tied[name]))
        elif name in parts:
            raise broken(folder, part.path.name, f"has '{name}' twice")
        else:
            parts[name] = part
    return parts, copies


def _current_name(name: str, expected: Shapes, native: Native) -> str:
    for old, new in native.renamed:
        name = name.replace(old, new)
    prefixed = native.prefix + name
    known = prefixed in expected or prefixed in dict(native.tied)
    return prefixed if known and name not in expected else name


def _check_complete(
    folder: Path, parts: dict[str, _Part], expected: Shapes, stock: Stock
) -> list[str]:
    """Return the weights to draw for a fresh head; other heads' are taken out of `parts`.

    Raises:
        ArtifactError: If weights are missing or too many.
    """
    native = stock.native
    missing = [name for name in expected if name not in parts]
    headless = bool(native.head) and native.head[0] + "weight" in missing
    if headless:
        if not stock.fresh_head:
            raise ArtifactError(
                f"{folder}: has no classification head ('{native.head[0]}weight' is missing); to "
                "fine-tune the model, give it a new one: nas.load(FOLDER, labels=[...])"
            )
        others = (*native.other_heads, *(f"{native.prefix}{name}" for name in native.other_heads))
        for name in [name for name in parts if name not in expected and name.startswith(others)]:
            del parts[name]
        missing = [name for name in missing if not name.startswith(native.head)]
    elif stock.fresh_head:
        raise InputError(
            f"{folder}: labels: it has a classification head already; for other classes fine-tune "
            "it on data that has them"
        )
    extra = [name for name in parts if name not in expected]
    problems = [f"lacks '{name}'" for name in missing]
    problems += [f"has '{parts[name].stored}', which nas does not compute with" for name in extra]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ArtifactError(f"{folder}: {problems[0]}{more}: not the weights that config.json says")
    return [name for name in expected if name not in parts]


def _check_kinds(folder: Path, parts: Mapping[str, _Part], expected: Shapes) -> None:
    for name, part in parts.items():
        if part.dtype not in STORED:
            raise broken(
                folder,
                part.path.name,
                f"'{part.stored}' is {part.dtype}, expected one of {', '.join(sorted(STORED))}",
            )
        if part.shape != expected[name]:
            raise broken(
                folder,
                part.path.name,
                f"'{part.stored}' is {part.shape}, by config.json it is {expected[name]}",
            )


def _check_copies(copies: list[tuple[_Part, str]], parts: Mapping[str, _Part]) -> None:
    """Refuse copies of tied weights that are none."""
    for copy, name in copies:
        if not torch.equal(copy.read(), parts[name].read()):
            raise broken(
                copy.path.parent,
                copy.path.name,
                f"'{copy.stored}' differs from '{parts[name].stored}', to which config.json ties "
                "it",
            )


def _fresh_state(stock: Stock) -> dict[str, Tensor]:
    """Return the weights of a freshly drawn network, the same ones each time."""
    architecture, spec = stock.manifest.architecture, stock.manifest.task_spec
    network = module_class(architecture.family)(shape_of(architecture), spec)
    network.initialise(torch.Generator().manual_seed(0))
    found: dict[str, Tensor] = network.state_dict()
    return found
