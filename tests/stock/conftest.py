"""Stock folders, written once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stock_cases import CASES, stock_model


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A stock folder of each model type."""
    place = tmp_path_factory.mktemp("stock")
    for kind in CASES:
        stock_model(kind).save_pretrained(place / kind)
    return {kind: place / kind for kind in CASES}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """Copy a stock folder with keys of its configuration changed; None takes one out."""

    def make(kind: str, **changes: Any) -> Path:
        folder = tmp_path / kind
        shutil.copytree(folders[kind], folder, dirs_exist_ok=True)
        plain = json.loads((folder / "config.json").read_text()) | changes
        plain = {name: value for name, value in plain.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(plain))
        return folder

    return make
