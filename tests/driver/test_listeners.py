"""Nothing of a search listens: no port, no socket in the file system."""

import os
from pathlib import Path

import pytest
from pids import sockets_of, workers_of

import nas
from nas.records import Progress


def listening(pid):
    """The inodes of the sockets that take connections or datagrams, as a process sees them."""
    found = set()
    for name in ("tcp", "tcp6"):
        lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        found |= {fields[9] for line in lines if (fields := line.split())[3] == "0A"}
    for name in ("udp", "udp6", "raw", "raw6"):
        lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        found |= {line.split()[9] for line in lines}
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[3], 16) & 0x10000:  # __SO_ACCEPTCON
            found.add(fields[6])
    return found


def test_the_look_finds_a_listener():
    """Else the test below could not fail."""
    import socket

    me = os.getpid()
    before = sockets_of(me) & listening(me)
    with socket.create_server(("127.0.0.1", 0)):
        assert len((sockets_of(me) & listening(me)) - before) == 1


@pytest.mark.slow
def test_neither_driver_nor_workers_listen(configure):
    seen = []

    def look(event):
        if isinstance(event, Progress) and len(seen) < 3:
            pids = [os.getpid(), *workers_of(os.getpid())]
            assert len(pids) == 3
            seen.append({pid: sockets_of(pid) & listening(pid) for pid in pids})

    before = sockets_of(os.getpid()) & listening(os.getpid())
    config = configure(
        executor="processes",
        workers=2,
        per_candidate={"tokens": 60_000, "eta": 1},
        stop={"candidates": 2},
        finalists={"top": 0},
    )
    nas.search(config, listener=look)
    assert seen
    for found in seen:
        assert found.pop(os.getpid()) == before
        assert set(map(len, found.values())) == {0}
