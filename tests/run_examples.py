"""The scripts of `examples/`, run as a newcomer runs them: by themselves, in a folder of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, folder: Path, *arguments: str, **variables: str) -> str:
    """Run a script and return what it prints; none of the user's own studies is touched."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NAS_STUDIES", "NAS_DATABASE")}
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{name}\n{run.stdout}\n{run.stderr}"
    return run.stdout
