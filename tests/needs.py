"""What a test needs beyond Python: absent, the test is skipped here and fails where CI runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

import pytest


def need_program(name: str, install: str) -> str:
    """Return the path of a program; without it skip the test, or fail where CI is set.

    Args:
        name: What is called.
        install: What a reader types to have it.
    """
    return shutil.which(name) or lack(f"no program '{name}'; install it with: {install}")


def need_module(name: str, install: str) -> None:
    """Go on only where a module can be imported (see `need_program`)."""
    if find_spec(name) is None:
        lack(f"no module '{name}'; install it with: {install}")


def need_success(command: Sequence[str], otherwise: str) -> None:
    """Go on only where a command succeeds: what a system may forbid (see `need_program`)."""
    if subprocess.run(command, capture_output=True, check=False).returncode:
        lack(f"`{' '.join(command)}` fails here; {otherwise}")


def need_variable(name: str, meaning: str) -> str:
    """Return an environment variable (see `need_program`)."""
    return os.environ.get(name) or lack(f"no environment variable {name}: {meaning}")


def lack(reason: str) -> NoReturn:
    """Skip the test for what it lacks, or fail where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI runs every test)", pytrace=False)
    pytest.skip(reason)
