"""Loading a folder needs nothing but the folder: no network and no other program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hostile import FOLDERS
from needs import need_program, need_success


def test_load_opens_no_connection_and_starts_no_program(tmp_path: Path) -> None:
    strace = need_program("strace", "apt-get install strace")
    unshare = need_program("unshare", "apt-get install util-linux")
    apart = [unshare, "-rn"]
    need_success([*apart, "true"], "allow user namespaces")
    trace = tmp_path / "trace"
    code = "import nas, sys; print(nas.load(sys.argv[1], verify=True).tokenizer is not None)"
    command = [
        *apart, strace, "-f", "--seccomp-bpf", "-qq", "-o", str(trace),
        "-e", "trace=%network,execve,execveat", sys.executable, "-c", code, str(FOLDERS / "llama"),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr
    calls = trace.read_text().splitlines()
    assert "execve(" in calls[0]  # Python itself
    assert sys.executable in calls[0]
    assert calls[1:] == []
