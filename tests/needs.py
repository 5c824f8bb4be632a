"""What a test needs beyond Python: absent, the test is skipped here and fails where CI runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest


def need_program(name: str, install: str) -> str:
    """Return the path of a program; without it skip the test, or fail where CI is set.

    Args:
        name: What is called.
        install: What a reader types to have it.
    """
    return shutil.which(name) or _absent(f"no program '{name}'; install it with: {install}")


def need_module(name: str, install: str) -> None:
    """Go on only where a module can be imported (see `need_program`)."""
    if importlib.util.find_spec(name) is None:
        _absent(f"no module '{name}'; install it with: {install}")


def need_success(command: Sequence[str], otherwise: str) -> None:
    """Go on only where a command succeeds: what a system may forbid (see `need_program`)."""
    if subprocess.run(command, capture_output=True, check=False).returncode:
        _absent(f"`{' '.join(command)}` fails here; {otherwise}")


def _absent(reason: str) -> str:
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI runs every test)", pytrace=False)
    pytest.skip(reason)
