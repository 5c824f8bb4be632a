"""How many jobs would run at once, said before anything is started."""

from __future__ import annotations

import os

from nas.device import cpu_count, resolve_device
from nas.executors import kernel
from nas.executors.placement import cpu_workers, may_have_gpus, place
from nas.executors.ray_cluster import ADDRESS, Cluster, needs, room
from nas.plugins import is_cluster
from nas.worker import devices


def planned_slots(
    name: str, *, workers: int | None, threads: int, device: str, job_bytes: int
) -> int:
    """Return how many jobs an executor would run at once.

    A Ray cluster that is there is joined and asked for its free places; one that would be started
    on this machine has as many as there would be worker processes.

    Args:
        name: Of the executor, or `ray://host:port` (see `make_executor`).
        workers: As many as the user wants; None: as many as fit.
        threads: CPU threads of each.
        device: The kind asked for.
        job_bytes: What a job takes at most.

    Raises:
        DeviceError: If the device is not here.
        NasError: If the cluster cannot be joined.
    """
    if name == "inline":
        return 1
    if workers is not None:
        return workers
    if is_cluster(name):
        return _on_cluster(name, threads=threads, device=device, job_bytes=job_bytes)
    if name == "ray" and os.environ.get(ADDRESS):
        return _on_cluster(None, threads=threads, device=device, job_bytes=job_bytes)
    return _here(device, job_bytes)


def _here(device: str, job_bytes: int) -> int:
    """Return the number of worker processes, reckoned as `processes` does when it starts them."""
    gpus = devices(device) if may_have_gpus(device) else []
    if gpus:
        return len(place(gpus, job_bytes=job_bytes, workers=None, cpus=cpu_count()))
    if resolve_device(device) == "mps":
        return 1
    return cpu_workers(job_bytes, kernel.free_bytes())


def _on_cluster(address: str | None, *, threads: int, device: str, job_bytes: int) -> int:
    cluster = Cluster(address, cpus=None)
    try:
        return max(1, room(needs(threads=threads, device=device, job_bytes=job_bytes)))
    finally:
        cluster.close()
