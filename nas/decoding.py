"""Greedy decoding of encoder-decoder networks, many sources at once.

Shapes: B batch, S source tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.errors import InputError
from nas.records import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


def most_written(source: int, spec: TaskSpec) -> int:
    """Return how many tokens are written at most for a source of so many."""
    return min(spec.context, 2 * source + 8)


def greedy_decode(
    network: nn.Module, ids_BS: Tensor, mask_BS: Tensor | None, spec: TaskSpec, *, limit: int
) -> list[list[int]]:
    """Return the likeliest next token after the other, for each source.

    Args:
        network: With `encode` and `step`, in eval mode.
        ids_BS: The sources.
        mask_BS: 0 at their padding; None: there is none.
        spec: Begin and end token, and the context, beyond which nothing is written.
        limit: Largest number of tokens.

    Returns:
        Token ids without the begin and the end token.

    Raises:
        InputError: If the model has no begin token.
    """
    import torch

    if spec.bos_token_id is None:
        raise InputError("this model has no begin token to write from")
    written: list[list[int]] = [[] for _ in ids_BS]
    with torch.no_grad():
        memory = network.encode(ids_BS, mask_BS)  # type: ignore[operator]  # a seq2seq network has it
        following = torch.full((len(ids_BS), 1), spec.bos_token_id, device=ids_BS.device)
        is_open = [True] * len(written)
        past = None
        for _ in range(min(limit, spec.context)):
            logits, past = network.step(following, memory, mask_BS, past)  # type: ignore[operator]  # a seq2seq network has it
            following = logits[:, -1:].argmax(dim=-1)
            for row, token in enumerate(following[:, 0].tolist()):
                is_open[row] = is_open[row] and token != spec.eos_token_id
                if is_open[row]:
                    written[row].append(token)
            if not any(is_open):
                break
    return written
