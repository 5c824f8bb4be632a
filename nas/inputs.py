"""What a model is given: tensors and prompts that it can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nas.records import TaskSpec


def check_images(given: Sequence[Tensor], spec: TaskSpec) -> None:
    """Check that inputs are batches of images of the model's size, (B, C, H, W).

    Raises:
        InputError: If one is not.
    """
    wanted = (spec.n_channel, spec.image_size, spec.image_size)
    for pixels in given:
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != wanted:
            raise InputError(
                f"got images of shape {tuple(pixels.shape)}, expected (batch, channels, height, "
                f"width) with the last three {wanted}; resize them"
            )


def check_texts(given: Sequence[Tensor], spec: TaskSpec) -> None:
    """Check that inputs are batches of tokens, (B, T), within the context.

    Raises:
        InputError: If one is not.
    """
    for ids in given:
        if ids.ndim != 2:
            raise InputError(f"got an input of shape {tuple(ids.shape)}, expected (batch, tokens)")
    longest = max((ids.shape[1] for ids in given), default=0)
    if longest > spec.context:
        raise InputError(
            f"got {longest} tokens, the model has positions for {spec.context}; cut the input"
        )


def check_prompt(prompt: str) -> str:
    """Return a text that is Unicode: what a shell passes need not be.

    Raises:
        InputError: If it is not.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"prompt: character {error.start + 1} is half of one or no UTF-8; write it anew"
        ) from error
    return prompt
