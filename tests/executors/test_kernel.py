"""What the kernel's files say of memory, in each of the forms that they have."""

import sys

import pytest

from nas.executors import kernel


def lay_out(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


MACHINE = {
    "proc/meminfo": "MemTotal:       2000 kB\nMemAvailable:   1000 kB\nHugePages_Total:       0\n",
    "proc/vmstat": "nr_free_pages 12\noom_kill 7\n",
}
SECOND = {
    "proc/self/cgroup": "0::/user/job\n",
    "sys/fs/cgroup/user/job/memory.events": "low 0\noom 9\noom_kill 3\n",
    "sys/fs/cgroup/user/job/memory.max": "600000\n",
    "sys/fs/cgroup/user/job/memory.current": "500000\n",
    "sys/fs/cgroup/user/job/memory.stat": "anon 1\ninactive_file 100000\n",
}
FIRST = {
    "proc/self/cgroup": "9:name=systemd:/\n4:memory:/job\n0::/\n",
    "sys/fs/cgroup/memory/job/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "400000\n",
    "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "100000\n",
}


@pytest.mark.parametrize(
    ("files", "killed", "free"),
    [
        ({}, None, None),  # another system
        (MACHINE, 7, 1_024_000),
        (MACHINE | SECOND, 3, 200_000),
        (MACHINE | SECOND | {"sys/fs/cgroup/user/job/memory.max": "max\n"}, 3, 1_024_000),
        (MACHINE | FIRST, 2, 300_000),
        # In a container the group's own path is not to be seen, but its files are at the root.
        (
            MACHINE
            | {
                "proc/self/cgroup": "0::/elsewhere\n",
                "sys/fs/cgroup/memory.events": "oom_kill 5\n",
            },
            5,
            1_024_000,
        ),
    ],
)
def test_kills_and_free_memory(tmp_path, files, killed, free):
    root = lay_out(tmp_path, files)
    assert kernel.kills(root) == killed
    assert kernel.free_bytes(root) == free


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_this_machine_says_both():
    assert kernel.kills() >= 0
    assert kernel.free_bytes() > 2**20
