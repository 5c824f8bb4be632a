"""One picture as bytes of pixels: read, resized, grey or in colour, and scaled for a network.

Shapes: B and N images, H height, W width, C channels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError

VISION_HINT = 'install it with: pip install "transformer-nas[vision]"'
LARGEST_SIDE = 1024
PREPROCESSOR = "preprocessor_config.json"
# A byte b becomes (b / 255 - MEAN) / STD: -1 to 1.
MEAN, STD = 0.5, 0.5

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How bytes become a network's numbers: `byte / divisor - shift`, channel by channel."""

    divisor: tuple[float, ...] = (255 * STD,)
    shift: tuple[float, ...] = (MEAN / STD,)

    @classmethod
    def of(cls, preprocessor: str) -> Scaling:
        """Return what the content of a `preprocessor_config.json` says.

        Raises:
            DataError: If it is damaged.
        """
        try:
            plain: Mapping[str, Any] = json.loads(preprocessor)
            factor = float(plain["rescale_factor"]) if plain.get("do_rescale", True) else 1.0
            mean, std = [0.0], [1.0]
            if plain.get("do_normalize", True):
                mean, std = list(plain["image_mean"]), list(plain["image_std"])
            divisor = tuple(deviation / factor for deviation in std)
            shift = tuple(a / b for a, b in zip(mean, std, strict=True))
            if not divisor or not all(map(math.isfinite, (*divisor, *shift))):
                raise ValueError("expected a finite mean and deviation for each channel")
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            raise DataError(f"{PREPROCESSOR}: damaged ({type(error).__name__}: {error})") from error
        return cls(divisor=divisor, shift=shift)


def picture_of(path: Path, size: int | None) -> Pixels:
    """Return a picture as (H, W, 1) if it is grey, else (H, W, 3); what is clear becomes white."""
    pil = pillow()
    try:
        with pil.open(path) as opened:
            return pixels_of(opened, path, size)
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error}); remove it") from error


def pixels_of(opened: Any, name: object, size: int | None) -> Pixels:
    """Return the pixels of one of Pillow's images as `picture_of` does.

    Args:
        opened: The image.
        name: What messages call it.
        size: Height and width to resize to; None: as it is.

    Raises:
        DataError: If it is too large or of 32 bits a pixel.
    """
    pil = pillow()
    if max(opened.size) > 16 * LARGEST_SIDE:
        raise DataError(f"{name}: {opened.size[0]} x {opened.size[1]} pixels are too many")
    picture = opened.convert("RGBA") if _is_clear(opened) else _of_bytes(name, opened)
    if picture.mode == "RGBA":
        white = pil.new("RGBA", picture.size, "white")
        picture = pil.alpha_composite(white, picture)
    grey = opened.mode in ("1", "L", "LA") or opened.mode.startswith("I;16")
    picture = picture.convert("L" if grey else "RGB")
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), pil.Resampling.BILINEAR)
    array = np.asarray(picture, dtype=np.uint8)
    return array[..., None] if array.ndim == 2 else array


def _of_bytes(name: object, opened: Any) -> Any:
    """Return a picture of 16 bits a pixel as one of 8: Pillow would make all above 255 white."""
    if opened.mode.startswith("I;16"):
        return pillow().fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    if opened.mode in ("I", "F"):
        raise DataError(f"{name}: pixels of 32 bits have no known white; save it with 8 or 16")
    return opened


def _is_clear(picture: Any) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def in_size(pixels: Pixels, size: int) -> Pixels:
    """Return images (N, H, W, C) as (N, size, size, C)."""
    if pixels.shape[1:3] == (size, size):
        return pixels
    pil = pillow()
    small = np.empty((len(pixels), size, size, pixels.shape[3]), dtype=np.uint8)
    for row, image in enumerate(pixels):
        picture = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        resized = np.asarray(picture.resize((size, size), pil.Resampling.BILINEAR))
        small[row] = resized[..., None] if resized.ndim == 2 else resized
    return small


def in_channels(pixels: Pixels, n_channel: int) -> Pixels:
    """Return images (N, H, W, 1 or 3) with 1 or 3 channels; colour becomes its luma.

    Source of the weights: ITU-R BT.601, as Pillow's conversion to grey takes them.
    """
    if pixels.shape[3] == n_channel:
        return pixels
    if n_channel == 3:
        return np.repeat(pixels, 3, axis=3)
    pil = pillow()
    grey = [np.asarray(pil.fromarray(image).convert("L")) for image in pixels]
    return np.stack(grey)[..., None]


def pillow() -> Any:
    """Return Pillow's module `Image`, imported when it is first needed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"pictures need Pillow; {VISION_HINT}") from error
    return Image
