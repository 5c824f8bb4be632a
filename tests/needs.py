"""What some tests need and not every machine has: there it skips, under CI it fails."""

import os
import shutil
from importlib.util import find_spec

import pytest


def need_module(name, install):
    """Skip, or fail under CI, unless a module can be imported; `install` is how to get it."""
    if find_spec(name) is None:
        lack(f"needs the module {name}; run: {install}")


def need_program(name, install):
    """Skip, or fail under CI, unless a program is on the path; `install` is how to get it."""
    if shutil.which(name) is None:
        lack(f"needs the program {name}; run: {install}")


def need_variable(name, meaning):
    """Return an environment variable; skip, or fail under CI, where it is not set."""
    if not os.environ.get(name):
        lack(f"needs the environment variable {name}: {meaning}")
    return os.environ[name]


def lack(text):
    """Skip, or fail under CI, for what a test lacks."""
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
