"""A cluster of this machine that the Ray executor starts itself: who reaches it, what it leaves."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from needs import need_module
from pids import family, gone_within, kill, lives, named, sockets_of

pytestmark = pytest.mark.slow
LOOPBACK = "0100007F"  # as /proc/net/tcp has it

LOCAL = """
import os, sys, time
import nas
from nas.executors import make_executor
executor = make_executor("ray", workers=2, threads=1, device="cpu", job_bytes=2**24)
import ray
environments = ray.get([ray.remote(num_cpus=0)(lambda: dict(os.environ)).remote()])
print(*[name for one in environments for name in one if "PASS" in name or "DATABASE" in name])
print("up", flush=True)
sys.stdin.read()
executor.close()
"""


@pytest.fixture
def local():
    """A driver with a cluster of its own; gives the process and what it said of variables."""
    need_module("ray", 'pip install "transformer-nas[ray]"')
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    variables |= {"PGPASSWORD": "secret", "NAS_DATABASE": "postgresql://nas:secret@db/nas"}
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", LOCAL], env=variables, text=True, **pipes
    ) as process:
        told = process.stdout.readline()
        assert process.stdout.readline() == "up\n"
        yield process, told
        if process.poll() is None:
            process.kill()


def listening(pids):
    """The addresses that processes listen at for connections."""
    sockets = set().union(*map(sockets_of, pids))
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.append(fields[1].partition(":")[0])
    return found


def test_a_local_cluster_is_reached_from_nowhere_else_and_ends_with_its_driver(local):
    process, told = local
    pids = family(process.pid)
    assert told == "\n", "no credentials of a database"
    addresses = listening(pids)
    assert len(addresses) > 2
    mapped = "0000000000000000FFFF0000" + LOOPBACK
    assert set(addresses) <= {LOOPBACK, mapped}, "127.0.0.1, and nothing else"
    agents = pids & named("Agent")  # Ray's own: they first try for a minute to report it
    assert pids & named("RayWorker")
    process.kill()
    gone_within(10, pids - agents)
    for pid in filter(lives, agents):
        kill(pid)


def test_a_local_cluster_leaves_nothing_behind(local):
    process, _ = local
    before = set(Path(tempfile.gettempdir()).glob("nas-ray-*"))
    pids = family(process.pid)
    process.communicate("", timeout=60)
    assert process.returncode == 0
    gone_within(10, pids)
    assert len(set(Path(tempfile.gettempdir()).glob("nas-ray-*"))) == len(before) - 1
