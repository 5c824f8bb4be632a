"""A Ray cluster as a program: nodes of one CPU come and go at the word of a test.

It is meant to run in a mount namespace of its own, where what the driver has is covered:

    unshare --mount sh -c 'mount -t tmpfs none FOLDER && exec python tests/ray_nodes.py PORT'

A head without CPUs starts, with a server for `ray://127.0.0.1:PORT`. Each line of input, `add` or
`kill NUMBER`, is answered by one: the address, the node's number, or `gone`. A killed node's
processes get SIGKILL. All end with the input.
"""

from __future__ import annotations

import sys
import tempfile

from ray.cluster_utils import Cluster

COMMON = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
# A node that no longer answers is given up after a second and a half instead of half a minute.
PATIENCE = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}


def main() -> None:
    temporary = tempfile.mkdtemp(prefix="ray-")
    head = {"num_cpus": 0, "ray_client_server_port": int(sys.argv[1]), "temp_dir": temporary}
    cluster = Cluster(
        initialize_head=True, head_node_args={**COMMON, **head, "_system_config": PATIENCE}
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
