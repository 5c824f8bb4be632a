"""A Ray cluster as a program: nodes of one CPU come and go at the word of a test.

It is meant to run in a mount namespace of its own, where what the driver has is covered:

    unshare --mount sh -c 'mount -t tmpfs none FOLDER && exec python tests/ray_nodes.py PORT'

A head without CPUs starts, with a server for `ray://127.0.0.1:PORT`. Each line of input, `add` or
`kill NUMBER`, is answered by one: the address, the node's number, or `gone`. A killed node's
processes get SIGKILL. All end with the input.
"""

from __future__ import annotations

import os
import sys

# The cluster listens at the loopback interface alone. Ray reads this when it is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

from ray.cluster_utils import Cluster

COMMON = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
# A node that no longer answers is given up after seconds instead of half a minute, and workers are
# not put behind all else that a machine does: it may be busy with other tests.
SYSTEM = {
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
    "worker_niceness": 0,
}


def main() -> None:
    head = {"num_cpus": 0, "ray_client_server_port": int(sys.argv[1])}
    cluster = Cluster(
        initialize_head=True, head_node_args={**COMMON, **head, "_system_config": SYSTEM}
    )
    nodes = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        if what == "add":
            nodes.append(cluster.add_node(num_cpus=1, **COMMON))
            print(len(nodes) - 1, flush=True)
        else:
            cluster.remove_node(nodes[int(number)], allow_graceful=False)
            print("gone", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
