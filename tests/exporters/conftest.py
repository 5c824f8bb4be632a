"""Stored models to export."""

import pytest
from export_cases import save_case


@pytest.fixture
def stored(tmp_path):
    """Store a case in a folder of this test."""
    return lambda name: save_case(name, tmp_path / name)
