"""A Ray cluster whose nodes do not see the driver's files and come and go as a test wants it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("ray_nodes.py")
COVER = 'mount -t tmpfs none "$1" && exec "$2" "$3" "$4"'


class Nodes:
    """A cluster in a mount namespace of its own (see `ray_nodes`), at first without CPUs.

    Needs root or user namespaces. In this process `RAY_ADDRESS` is the caller's to set.

    Args:
        hidden: A folder that is empty there.
        temporary: A folder with a short path for what Ray and the workers write.
    """

    def __init__(self, hidden: str | Path, temporary: str | Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shell = ["unshare", "--mount", "sh", "-c", COVER, "sh"]
        self._process = subprocess.Popen(
            [*shell, str(hidden), sys.executable, str(PROGRAM), str(port)],
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the cluster did not start"
        self.client_address = f"ray://127.0.0.1:{port}"
        self.temporary = temporary
        self.alive: list[int] = []

    def _say(self, command: str) -> str:
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def add(self) -> None:
        """Add a node of one CPU."""
        self.alive.append(int(self._say("add")))

    def kill(self) -> None:
        """Kill the node that is there longest."""
        assert self._say(f"kill {self.alive.pop(0)}") == "gone"

    def have(self, count: int) -> None:
        """See that there are so many nodes."""
        while len(self.alive) < count:
            self.add()
        while len(self.alive) > count:
            self.kill()

    def close(self) -> None:
        """End the cluster."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
