"""Look at labelled images: class folders, IDX files or an npz file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nas.data.images import Images, read_images
from nas.errors import DataError
from nas.proposal.sight import Sight, class_notes, class_words, repeated_notes

TASK = "image_classification"
LARGEST = 32  # pixels a side that small models are trained on in minutes
MULTIPLE = 4  # what the patches of the shipped spaces divide
LEAST = 8


def look_at_images(path: Path) -> Sight:
    """Return what is in labelled images.

    Raises:
        DataError: If they cannot be read, even resized to one size.
    """
    images, notes = _read(path)
    side = int(images.pixels.shape[1])
    size = wanted_size(side)
    if size != side:
        notes = [*notes, f"images are resized from {side} to {size} pixels a side, for speed"]
    resized = size != side or bool(notes)
    classes = dict(Counter(images.names[number] for number in images.labels).most_common())
    if len(classes) < 2:
        raise DataError(f"{path}: every image is '{images.names[0]}'; two classes or more")
    return Sight(
        task=TASK,
        data=str(path),
        words=image_words(images, classes),
        examples=len(images.labels),
        options={"image_size": size} if resized else {},
        classes=classes,
        image_side=size,
        notes=(
            *notes,
            *class_notes(classes),
            *repeated_notes([image.tobytes() for image in images.pixels], "images"),
        ),
    )


def _read(path: Path) -> tuple[Images, list[str]]:
    """Read images as they are, or in one size where they differ."""
    try:
        return read_images(path, size=None), []
    except DataError as error:
        if "task.image_size" not in str(error):
            raise
    return read_images(path, size=LARGEST), [
        f"images differ in size or are not square: all are resized to {LARGEST} x {LARGEST}"
    ]


def wanted_size(side: int) -> int:
    """Return the pixels a side that images of one size are trained at."""
    if side >= LARGEST:
        return LARGEST
    return max(LEAST, side - side % MULTIPLE)


def image_words(images: Images, classes: dict[str, int]) -> str:
    """Return how many images there are, and of which kind."""
    height, width, channels = images.pixels.shape[1:]
    kind = "grey" if channels == 1 else "colour"
    given: Sequence[str] = list(images.given or ())
    splits = f", split as {', '.join(given)}" if given else ""
    return (
        f"{len(images.labels):,} {kind} images of {width} x {height} in "
        f"{class_words(classes)}{splits}"
    )
