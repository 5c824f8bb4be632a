"""Images: augmentation, splits that the data brings along, and the preprocessor."""

from __future__ import annotations

import json

import numpy as np
import pytest
from task_cases import CASES, request_for

from nas.errors import DataError
from nas.tasks.image_classification import ImageClassification

NAME = "image_classification"
RNG = np.random.default_rng(0)


def prepare(folder, **arrays):
    np.savez(folder / "x.npz", **arrays)
    return ImageClassification.prepare(request_for(NAME, str(folder / "x.npz")), folder / "data")


def images(count, size=8):
    pixels = RNG.integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    return pixels, np.arange(count) % 2


@pytest.mark.parametrize("augment", ["none", "flip", "shift", "shift_flip"])
def test_augmentation_does_what_it_is_called(tmp_path, augment):
    pixels, _ = images(1, 8)
    prepared = prepare(
        tmp_path,
        x_train=np.repeat(pixels, 64, axis=0),
        y_train=np.arange(64) % 2,
        x_val=pixels.repeat(2, axis=0),
        y_val=np.arange(2),
    )
    task = ImageClassification(prepared, CASES[NAME].recipe(augment=augment), 0)
    image = pixels[0]
    seen = {found.tobytes() for step in range(12) for found in task.batch(step).pixels_BHWC}
    flipped = {image.tobytes(), image[:, ::-1].tobytes()}
    if augment in ("none", "flip"):
        assert seen == ({image.tobytes()} if augment == "none" else flipped)
        return
    rows = [np.clip(np.arange(8) + move, 0, 7) for move in (-1, 0, 1)]
    shifted = [image[down][:, right] for down in rows for right in rows]
    wanted = {found.tobytes() for found in shifted}
    if augment == "shift_flip":
        wanted |= {found[:, ::-1].tobytes() for found in shifted}
    assert seen == wanted


def test_splits_of_the_data_are_kept_and_val_is_cut_from_train(tmp_path):
    pixels, labels = images(100)
    prepared = prepare(
        tmp_path, x_train=pixels[:80], y_train=labels[:80], x_test=pixels[80:], y_test=labels[80:]
    )
    assert np.array_equal(prepared.array("test.pixels"), pixels[80:])
    assert prepared.info.examples["train"] + prepared.info.examples["val"] == 80
    assert prepared.info.examples["val"] >= 10


def test_preprocessor_says_how_pixels_become_inputs(prepared_for):
    plain = json.loads((prepared_for(NAME).folder / "preprocessor_config.json").read_text())
    assert plain["size"] == {"height": 8, "width": 8}
    assert (plain["image_mean"], plain["image_std"]) == ([0.5], [0.5])


def test_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="every example of train is '3'"):
        prepare(tmp_path, x=images(20)[0], y=np.full(20, 3))
