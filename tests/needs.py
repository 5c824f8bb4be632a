"""What some tests need and not every machine has: there it skips, under CI it fails."""

import os
import shutil
from importlib.util import find_spec

import pytest


def need_module(name, install):
    """Skip, or fail under CI, unless a module can be imported; `install` is how to get it."""
    if find_spec(name) is None:
        _lack(f"needs the module {name}; run: {install}")


def need_program(name, install):
    """Skip, or fail under CI, unless a program is on the path; `install` is how to get it."""
    if shutil.which(name) is None:
        _lack(f"needs the program {name}; run: {install}")


def _lack(text):
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
