"""Read labelled images: a folder of class folders, an npz file, or IDX files.

Pixels come as bytes, all images of one size. Nothing is unpickled, and nothing larger than a file
can hold is allocated on its word.

Shapes: N images, H height, W width, C channels.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.labels import in_order
from nas.data.pictures import in_size, picture_of
from nas.data.text_files import unreadable
from nas.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
MOST_DEFLATED = 1032  # bytes that one of a zip file can stand for, by the format of deflate

# File name parts of the MNIST family: https://yann.lecun.com/exdb/mnist/ describes the format.
IDX_SPLITS = {"train": "train", "test": "t10k"}
IDX_BYTES = 0x08  # the type code of unsigned bytes

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Labelled images.

    Attributes:
        pixels: Shape (N, H, W, C).
        labels: The class of each, shape (N,).
        names: Names of the classes.
        given: Which rows are which split, if the source itself says so.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    given: Mapping[str, slice] | None = None


def read_images(source: Path, *, size: int | None) -> Images:
    """Read the images of a source.

    Args:
        source: A folder of class folders (also below `train`, `val` and `test`), a `.npz` file
            with `x` and `y` (or `x_train`, `y_train`, `x_test`, `y_test`), or a folder of IDX
            files (also `.gz`) named as MNIST's.
        size: Height and width to resize to; None: as they are, if all are square and equal.

    Raises:
        DataError: If the source is none of these, a file cannot be read, or sizes differ and no
            size was given.
    """
    try:
        if source.is_dir():
            found = _read_idx(source) if is_idx_folder(source) else None
            found = found or _read_folder(source, size)
        elif source.exists():
            found = _read_npz(source)
        else:
            raise DataError(f"{source}: no such file or folder; check the path")
    except OSError as error:
        raise unreadable(source, error) from error
    if not found.pixels[:1].size:
        raise DataError(f"{source}: images of shape {found.pixels.shape[1:]}: there are no pixels")
    if size is not None and found.pixels.shape[1:3] != (size, size):
        found = replace(found, pixels=in_size(found.pixels, size))
    height, width = found.pixels.shape[1:3]
    if height != width:
        raise DataError(
            f"{source}: images of {height} x {width}; square ones are needed: set task.image_size"
        )
    return found


def _joined(source: Path, parts: Mapping[str, tuple[Any, Any]], names: tuple[str, ...]) -> Images:
    """Return the images of several splits in a row."""
    given, start = {}, 0
    for split, (pixels, labels) in parts.items():
        if len(pixels) != len(labels):
            raise DataError(f"{source}: {len(pixels)} images and {len(labels)} labels in {split}")
        given[split] = slice(start, start + len(pixels))
        start += len(pixels)
    shapes = {pixels.shape[1:] for pixels, _ in parts.values()}
    if len(shapes) > 1:
        raise DataError(f"{source}: images of its splits differ: {sorted(shapes)}")
    return Images(
        pixels=np.concatenate([pixels for pixels, _ in parts.values()]),
        labels=np.concatenate([labels for _, labels in parts.values()]).astype(np.int64),
        names=names,
        given=given if len(given) > 1 else None,
    )


# IDX


def _read_idx(folder: Path) -> Images:
    parts = {}
    for split, prefix in IDX_SPLITS.items():
        images = _idx_file(folder, f"{prefix}-images-idx3-ubyte", required=split == "train")
        if images is None:
            continue
        labels = _idx_file(folder, f"{prefix}-labels-idx1-ubyte", required=True)
        assert labels is not None, "it was required"
        parts[split] = _idx_array(images, 3)[..., None], _idx_array(labels, 1)
    names = sorted({int(label) for _, labels in parts.values() for label in np.unique(labels)})
    numbered = {
        split: (pixels, np.searchsorted(names, labels)) for split, (pixels, labels) in parts.items()
    }
    return _joined(folder, numbered, tuple(map(str, names)))


def _idx_file(folder: Path, name: str, *, required: bool) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    if required:
        raise DataError(f"{folder}: has IDX files, but no {name} (or .gz)")
    return None


def _idx_array(path: Path, n_dim: int) -> Pixels:
    content = _unzipped(path)
    head = 4 + 4 * n_dim
    if len(content) < head or content[:4] != bytes((0, 0, IDX_BYTES, n_dim)):
        raise DataError(f"{path}: not an IDX file of bytes with {n_dim} dimensions")
    shape = tuple(np.frombuffer(content, dtype=">u4", count=n_dim, offset=4).tolist())
    if prod(shape) != len(content) - head:
        raise DataError(f"{path}: {len(content) - head} bytes of data, its header says {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape)


def _unzipped(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from error


# npz


def _read_npz(path: Path) -> Images:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty; there is nothing to learn from")
    arrays, parts = _npz_arrays(path), {}
    for split, suffixes in {"train": ("_train", ""), "val": ("_val",), "test": ("_test",)}.items():
        pair = _npz_pair(arrays, suffixes)
        if pair is not None:
            parts[split] = _as_bytes(path, pair[0]), _as_names(path, pair[1])
    if "train" not in parts:
        raise DataError(f"{path}: expected arrays x and y, got {', '.join(arrays) or 'none'}")
    names = in_order({name for _, labels in parts.values() for name in labels})
    numbers = {name: number for number, name in enumerate(names)}
    numbered = {
        split: (pixels, np.array([numbers[name] for name in labels], dtype=np.int64))
        for split, (pixels, labels) in parts.items()
    }
    return _joined(path, numbered, names)


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if one.filename.endswith(".npy")]
            return {
                one.filename.removesuffix(".npy"): _npz_array(path, archive, one) for one in members
            }
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{path}: not a readable npz file of plain arrays ({error})") from error


def _npz_array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array; numpy would allocate whatever its header says."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    most = min(member.file_size, MOST_DEFLATED * path.stat().st_size)
    if prod(shape) * dtype.itemsize > most:
        raise DataError(f"{path}: {member.filename} has fewer bytes than its header says, {shape}")
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _npz_pair(arrays: Mapping[str, Any], suffixes: tuple[str, ...]) -> tuple[Any, Any] | None:
    for suffix in suffixes:
        images = next((arrays[n + suffix] for n in ("x", "images") if n + suffix in arrays), None)
        labels = next((arrays[n + suffix] for n in ("y", "labels") if n + suffix in arrays), None)
        if images is not None and labels is not None:
            return images, labels
    return None


def _as_names(path: Path, labels: NDArray[Any]) -> list[str]:
    """Return labels as the names of classes; whole numbers may be stored as floats."""
    flat = labels.reshape(-1)
    if flat.dtype.kind == "f" and np.array_equal(flat, np.round(flat)):
        flat = flat.astype(np.int64)
    if flat.dtype.kind not in "iubUS":
        raise DataError(f"{path}: labels of {labels.dtype}, expected whole numbers or text")
    if flat.dtype.kind == "S":
        flat = np.char.decode(flat, "utf-8")
    return [str(name) for name in flat]


def _as_bytes(path: Path, images: NDArray[Any]) -> Pixels:
    """Return images as (N, H, W, C) bytes."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(
            f"{path}: images of shape {images.shape}, expected (N, H, W), (N, H, W, 1) or "
            "(N, H, W, 3)"
        )
    if images.dtype == np.uint8:
        return images
    whole = np.issubdtype(images.dtype, np.integer)
    if not whole or images.min(initial=0) < 0 or images.max(initial=0) > 255:
        raise DataError(f"{path}: images of {images.dtype}, expected integers 0 to 255")
    return images.astype(np.uint8)


# Folders of pictures


def _read_folder(folder: Path, size: int | None) -> Images:
    files = find_pictures(folder)
    names = tuple(sorted({name for found in files.values() for name, _ in found}))
    if not names:
        raise DataError(
            f"{folder}: no pictures in class folders (looked for CLASS/*.png, .jpg and the like)"
        )
    everything = [path for found in files.values() for _, path in found]
    pictures = [picture_of(path, size) for path in everything]
    pixels = _stacked(folder, everything, pictures)
    labels = np.array([names.index(name) for rows in files.values() for name, _ in rows])
    parts, start = {}, 0
    for split, rows in files.items():
        stop = start + len(rows)
        parts[split] = pixels[start:stop], labels[start:stop]
        start = stop
    return _joined(folder, parts, names)


def find_pictures(folder: Path) -> dict[str, list[tuple[str, Path]]]:
    """Return class and file of each picture of a folder by split; all are train without folders."""
    roots = {
        split: found
        for split, names in SPLIT_FOLDERS.items()
        if (found := next((folder / n for n in names if (folder / n).is_dir()), None)) is not None
    }
    roots = roots if "train" in roots else {"train": folder}
    return {split: _class_files(root) for split, root in roots.items()}


def is_idx_folder(folder: Path) -> bool:
    """Say whether a folder holds files that are named as MNIST's."""
    return any(folder.glob("*-idx?-ubyte*"))


def _class_files(root: Path) -> list[tuple[str, Path]]:
    classes = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [
        (one.name, path)
        for one in classes
        for path in sorted(one.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]


def _stacked(folder: Path, paths: list[Path], pictures: list[Pixels]) -> Pixels:
    sizes = {picture.shape[:2]: path for picture, path in zip(pictures, paths, strict=True)}
    if len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        raise DataError(
            f"{folder}: images differ in size: {one[1]} x {one[0]} ({first.name}), "
            f"{two[1]} x {two[0]} ({second.name}); set task.image_size to resize them"
        )
    if any(picture.shape[2] == 3 for picture in pictures):
        pictures = [np.broadcast_to(p, (*p.shape[:2], 3)) for p in pictures]
    return np.stack(pictures)
