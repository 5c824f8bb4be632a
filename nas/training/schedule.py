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
# Of models that read whole examples the base rate at this many a step. Measured, 30,000 examples,
# one seed each, at 1e-3, 2e-3, 4e-3 and 8e-3: accuracy on SST-2 with ModernBERT of 2 layers of 64
# .747 .775 .794 -, with BERT .768 .780 - -; on 10,000 of Fashion-MNIST with ViT of 4 layers of 96
# .735 .758 .759 .771; BLEU on Multi30k with 3 + 3 layers of 128 at 3e-3, 6e-3, 12e-3 13.0 14.9 9.6.
EXAMPLE_RATE = 4e-3
BASE_BATCH_EXAMPLES = 32
# Validations over the full budget that an early stop looks at.
STOP_CHECKS = 20
# A rung before the last decides who goes on, so it reads less than the last one: an eighth of what
# was trained on, which costs a 24th of that training, but so much in any case.
RUNG_EVAL_SHARE, MIN_RUNG_EVAL_TOKENS = 1 / 8, 16_384


def rung_eval_tokens(trained: int, most: int) -> int:
    """Return how many tokens a measurement before the full budget reads.

    Args:
        trained: Tokens up to the rung.
        most: What the measurement at the full budget reads at most.
    """
    return min(most, max(MIN_RUNG_EVAL_TOKENS, round(trained * RUNG_EVAL_SHARE)))


def auto_rate(head: str, *, context: int, batch: int) -> float:
    """Return the base rate of a head for a batch: it grows with the square root of the batch.

    A batch of language counts in tokens, since each is a target; any other in examples.

    Args:
        head: One of `records.HEADS`.
        context: Tokens of an example.
        batch: Examples a step.

    Source: Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", 2022.
    """
    if head == "causal_lm":
        return BASE_RATE * math.sqrt(context * batch / BASE_BATCH_TOKENS)
    return EXAMPLE_RATE * math.sqrt(batch / BASE_BATCH_EXAMPLES)


def width_factor(d_model: int) -> float:
    """Return the hidden matrices' share of the base rate: 1 up to `BASE_WIDTH`, then 1 / width.

    Source: Yang et al., "Tensor Programs V", 2022, https://arxiv.org/abs/2203.03466.
    """
    return min(1.0, BASE_WIDTH / d_model)


def cooldown_start(recipe: Recipe, full_budget: int) -> float:
    """Return the tokens up to which the rate does not depend on the budget."""
    return full_budget - recipe.cooldown * full_budget


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
    begun = tokens - cooldown_start(recipe, full_budget)
    if begun <= 0 or cooldown_tokens <= 0:
        return warmup
    return warmup * (1 - math.sqrt(min(1.0, begun / cooldown_tokens)))
