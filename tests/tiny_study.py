"""A study as small as they come, for tests and benchmarks that really search."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

# A dozen shapes and a reference among them.
FEW = {
    "format_version": 1,
    "family": "llama",
    "dimensions": {
        "n_layer": {"min": 1, "max": 2},
        "d_model": {"choices": [16, 24, 32]},
        "n_head": {"choices": [1, 2]},
        "d_ff": {"choices": [32, 48]},
    },
    "reference": {"n_layer": 1, "d_model": 24, "n_head": 2, "d_ff": 32},
}
# Hundreds of shapes.
MANY = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"n_head": 2},
    "dimensions": {
        "n_layer": {"min": 1, "max": 2},
        "d_model": {"min": 16, "max": 48, "step": 4},
        "d_ff": {"min": 16, "max": 128, "step": 4},
    },
}


def write_text(path: Path, length: int = 40_000) -> Path:
    """Write text with something to learn: words drawn from a small vocabulary."""
    luck = random.Random(0)
    words = ["".join(luck.choices("abcdefgh", k=luck.randint(2, 6))) for _ in range(50)]
    text = " ".join(luck.choices(words, k=length // 5))
    path.write_text(text[:length], encoding="utf-8")
    return path


def plain_study(text: Path, **changes: Any) -> dict[str, Any]:
    """Return a study of language models on a text, inline on the CPU.

    Args:
        text: Its data.
        changes: Whole sections in place of the ones below.
    """
    return {
        "format_version": 1,
        "space": FEW,
        "task": {"name": "language_modeling", "data": str(text)},
        "recipe": {"context": 16, "batch": 8, "rate": 0.01},
        "strategy": "random",
        "executor": "inline",
        "device": "cpu",
        **changes,
    }
