import random
from pathlib import Path

import pytest

from nas.config import config_from_plain

SPACE = {
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


def write_text(path: Path, length: int = 40_000) -> Path:
    """Text with something to learn: words drawn from a small vocabulary."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(50)]
    text = " ".join(rng.choices(words, k=length // 5))
    path.write_text(text[:length], encoding="utf-8")
    return path


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Returns configs of a tiny study on tiny text, in a folder of its own."""
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "studies"))
    text = write_text(tmp_path / "words.txt")

    def configure(name="tiny", **changes):
        plain = {
            "format_version": 1,
            "space": SPACE,
            "task": {"name": "language_modeling", "data": str(text)},
            "split": {"train": 0.8, "val": 0.1, "test": 0.1},
            "recipe": {"context": 16, "batch": 8, "rate": 0.01},
            "per_candidate": {"tokens": 4096, "eta": 1},  # pauses: see test_halving
            "finalists": {"top": 2, "seeds": 2},
            "stop": {"candidates": 4},
            "strategy": "random",
            "executor": "inline",
            "device": "cpu",
            "keep": 2,
            **changes,
        }
        return config_from_plain(plain, where="test", name=name)

    return configure
