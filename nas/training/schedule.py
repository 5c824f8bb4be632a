"""How the learning rate follows tokens, and what `rate: auto` means. No torch here."""

from __future__ import annotations

import math

from nas.records import Recipe

# The rate of embeddings and norms at this many tokens a step. Hidden matrices get a share of it
# that falls with width. Measured on tinyshakespeare, 4 layers of 128, 8 x 64 tokens a step, 0.77M
# tokens, embeddings at 8e-3: matrices at 8e-3 give a validation loss of 1.898, at 4e-3 1.753, at
# 2e-3 1.717, at 1e-3 1.718; embeddings at 1.6e-2 and matrices at 2e-3 1.724 (one seed each).
BASE_RATE = 8e-3
BASE_BATCH_TOKENS = 512
BASE_WIDTH = 24


def auto_rate(tokens_per_step: int) -> float:
    """Return the base rate for a batch: it grows with the square root of the batch.

    Source: Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022.
    """
    return BASE_RATE * math.sqrt(tokens_per_step / BASE_BATCH_TOKENS)


def width_factor(d_model: int) -> float:
    """Return the hidden matrices' share of the base rate: 1 up to `BASE_WIDTH`, then 1 / width.

    Source: Yang et al., "Tensor Programs V", 2022, https://arxiv.org/abs/2203.03466.
    """
    return min(1.0, BASE_WIDTH / d_model)


def rate_factor(tokens: int, recipe: Recipe, full_budget: int) -> float:
    """Return the share of the rate at a number of tokens seen.

    Warm-up is linear, then the rate is constant, and on the way to the full budget it falls as
    1 - sqrt(progress). Before the cooldown the rate does not depend on the budget, so that a
    paused candidate may go on to another one.

    Source: Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", 2024, https://arxiv.org/abs/2405.18392.
    """
    warmup = min(1.0, (tokens + recipe.tokens_per_step) / max(1, recipe.warmup_tokens))
    cooldown_tokens = recipe.cooldown * full_budget
    begun = tokens - (full_budget - cooldown_tokens)
    if begun <= 0 or cooldown_tokens <= 0:
        return warmup
    return warmup * (1 - math.sqrt(min(1.0, begun / cooldown_tokens)))
