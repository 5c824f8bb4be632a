"""A study file as plain data, and what tests do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nas.config import StudyConfig, config_from_plain

SPACE = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"head_dim": 8},
    "dimensions": {
        "n_layer": {"min": 1, "max": 2},
        "d_model": {"choices": [16, 32]},
        "n_head": {"choices": [1, 2]},
        "d_ff": {"min": 32, "max": 64, "step": 16, "per_layer": True},
    },
    "constraints": {"max_params": 100000},
    "reference": {"n_layer": 1, "d_model": 16, "n_head": 2, "d_ff": 32},
}
PLAIN: dict[str, Any] = {
    "format_version": 1,
    "space": SPACE,
    "task": {"name": "language_modeling", "data": "builtin:python-docs"},
}
LATENCY = {"phase": "prefill", "batch": 2, "context": 32, "device": "cuda:1", "threads": 2}


def config_of(**changes: Any) -> StudyConfig:
    return config_from_plain({**PLAIN, **changes}, where="s.yaml", name="s")


def write_file(path: Path, plain: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path
