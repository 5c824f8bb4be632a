"""Every example runs as a newcomer would run it, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
TEXT = "The north wind and the sun disputed which of them was the stronger.\n" * 200


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_ends_with_a_text_of_its_model(script, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    environment = {k: v for k, v in os.environ.items() if k != "NAS_STUDIES"}
    run = subprocess.run(
        [sys.executable, str(script), "text.txt"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "studies" / "own_text" / "study.db").is_file()
    assert "\nThe " in run.stdout
