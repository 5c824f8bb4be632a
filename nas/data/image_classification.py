"""Prepare labelled images: pixels as bytes, and the preprocessor that transformers reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.data import examples
from nas.data.images import read_images
from nas.data.labels import label_numbers, labels_for
from nas.data.pictures import MEAN, PREPROCESSOR, STD, Pixels, in_channels, in_size
from nas.data.prepared import Draft, PreparedData, prepare_once
from nas.data.request import WHOLE, DataRequest, Option
from nas.data.rows import Columns, read_splits
from nas.data.sources import builtin_name, is_builtin, local_path, signature
from nas.data.splits import SPLITS
from nas.errors import DataError
from nas.records import TaskSpec

TASK = "image_classification"

OPTIONS = {
    "image_size": Option(
        default=0, maximum=1024, help="height and width to resize to; 0: the images' own"
    ),
}


def prepare_image_classification(request: DataRequest, folder: str | Path) -> PreparedData:
    """Turn labelled images into arrays, or open those made before.

    Args:
        request: Each source is a folder of class folders, an `.npz` file, a folder of IDX files,
            or `builtin:digits`. One that has splits of its own keeps its test split.
        folder: Where the arrays go; made if missing.

    Raises:
        DataError: If a source cannot be read, images differ in size, or there is one class only.
    """
    return prepare_once(request, folder, _make)


def _make(request: DataRequest) -> Draft:
    source_sha256 = signature(request.sources)
    found = {name: _read(request, source) for name, source in request.sources.items()}
    request, tables = _with_own_splits(request, found)
    by_source = {request.sources[name]: table for name, table in tables.items()}
    splits = read_splits(request, lambda source: by_source[source])
    labels = labels_for(request.trained, splits["train"]["label"], where=request.name)
    arrays: dict[str, Any] = {}
    for name, table in splits.items():
        arrays[f"{name}.pixels"] = table["pixels"]
        arrays[f"{name}.labels"] = label_numbers(
            table["label"], labels, where=request.name, split=name
        )
    _check_sizes(request, splits)
    size, channels = splits["train"]["pixels"].shape[2:]
    count = {name: len(splits[name]["label"]) if name in splits else 0 for name in SPLITS}
    spec = TaskSpec(
        task=TASK,
        head="classify_image",
        vocab_size=0,
        context=1,
        labels=labels,
        image_size=size,
        n_channel=channels,
    )
    preprocessor = json.dumps(_preprocessor(size, channels), indent=2)
    trained = request.trained
    return Draft(
        spec=spec if trained is None else replace(trained.spec, labels=labels),
        source_sha256=source_sha256,
        examples=count,
        tokens=count,
        arrays=arrays,
        files={PREPROCESSOR: preprocessor} if trained is None else trained.files,
    )


def _read(request: DataRequest, source: str) -> dict[str, Columns]:
    """Return the columns of each split that the source itself has, or of all of it."""
    if is_builtin(source):
        pixels, numbers = builtin_name(source, {"digits": examples.digits})()
        names = [str(number) for number in numbers]
        return {WHOLE: {"pixels": _for_model(request, pixels), "label": names}}
    size = int(request.options["image_size"]) or None
    if request.trained is not None:
        size = request.trained.spec.image_size
    found = read_images(local_path(source), size=size)
    found = replace(found, pixels=_for_model(request, found.pixels))
    names = [found.names[number] for number in found.labels]
    if found.given is None:
        return {WHOLE: {"pixels": found.pixels, "label": names}}
    rows = {name: np.arange(len(names))[where] for name, where in found.given.items()}
    return {
        name: {"pixels": found.pixels[where], "label": [names[row] for row in where]}
        for name, where in rows.items()
    }


def _for_model(request: DataRequest, pixels: Pixels) -> Pixels:
    """Return images in the size and with the channels that a trained model takes."""
    if request.trained is None:
        return pixels
    spec = request.trained.spec
    return in_channels(in_size(pixels, spec.image_size), spec.n_channel)


def _with_own_splits(
    request: DataRequest, tables: dict[str, dict[str, Columns]]
) -> tuple[DataRequest, dict[str, Columns]]:
    """Return the request with the splits that a source brings along, and a table for each."""
    whole = tables.get(WHOLE)
    if whole is not None and WHOLE not in whole:
        source = request.sources[WHOLE]
        sources = {name: f"{source} ({name})" for name in whole}
        return replace(request, sources=sources), dict(whole)
    flat = {}
    for name, table in tables.items():
        if WHOLE not in table:
            raise DataError(
                f"{request.sources[name]}: has splits of its own; give it as task.data by itself"
            )
        flat[name] = table[WHOLE]
    return request, flat


def _check_sizes(request: DataRequest, splits: dict[str, dict[str, Any]]) -> None:
    shapes = {name: table["pixels"].shape[1:] for name, table in splits.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{request.name}: images differ between splits: {shapes}")


def _preprocessor(size: int, channels: int) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * channels,
        "image_std": [STD] * channels,
    }
