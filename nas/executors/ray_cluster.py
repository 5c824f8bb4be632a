"""A Ray cluster to run jobs on: one that is there, or a local one that only this machine reaches.

Says also what a job asks of the cluster: CPUs, memory and, on GPUs, as small a share of one as the
cost model allows.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas.device import cpu_count
from nas.errors import DeviceError, InputError, NasError
from nas.executors.placement import CONTEXT_BYTES, USABLE
from nas.executors.worker_process import KEPT_MEMORY
from nas.store.environment import without_database

LOOPBACK = "127.0.0.1"
ADDRESS = "RAY_ADDRESS"  # Ray's own variable

# Host memory of a worker beside its job's: Python, torch and Ray. Measured 420 MB after a job on
# a CPU; on a GPU, CUDA's libraries come on top.
WORKER_BYTES = 600 * 2**20
GPU_GRAIN = 1e4  # Ray counts ten-thousandths of a GPU

# Of a local cluster, where checkpoints and data need not travel: only models do.
OBJECT_STORE_BYTES = 512 * 2**20
ASK_SECONDS = 60.0
REACH_SECONDS = 10.0

# Whoever reaches a cluster's ports without it can run code as this user; others share a machine.
_TOKEN = secrets.token_hex(32)


class Cluster:
    """A connection to a cluster; `close` ends it, and with it a cluster that was started here.

    Args:
        address: `ray://host:port`, or None: what RAY_ADDRESS says, else a local cluster.
        cpus: Of a local cluster; None: those that this process may use.

    Raises:
        NasError: If Ray is not installed, or the cluster cannot be joined or started.
    """

    def __init__(self, address: str | None, *, cpus: int | None) -> None:
        if find_spec("ray") is None:
            raise InputError("executor ray needs ray; run: pip install 'transformer-nas[ray]'")
        import ray

        self._folder: Path | None = None
        self._joined_before = ray.is_initialized()  # by whoever called us: theirs to end
        if self._joined_before:
            return
        address = address or os.environ.get(ADDRESS) or None
        with _own_signals():
            if address is None:
                self._folder = _start(cpus or cpu_count())
            else:
                _join(address)

    def close(self) -> None:
        """Leave the cluster; end it if it was started here."""
        import ray

        if not self._joined_before:
            with _own_signals():
                ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _start(cpus: int) -> Path:
    """Start a cluster of one node that listens on the loopback interface alone.

    Returns:
        The folder of its sockets and logs.
    """
    import ray

    # Sockets lie in it, and a socket's path has to be short: macOS's own place is too long.
    place = "/tmp" if sys.platform == "darwin" else None  # noqa: S108  # a folder of a new name
    folder = Path(tempfile.mkdtemp(prefix="nas-ray-", dir=place))
    try:
        with _environment(), _loopback():
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
            )
        if (found := ray.util.get_node_ip_address()) != LOOPBACK:
            ray.shutdown()
            raise NasError(f"it took {found} for its address, which others may reach")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise NasError(f"executor ray: a local cluster could not be started: {error}") from error
    return folder


def _join(address: str) -> None:
    import ray

    if address.startswith("ray://") and find_spec("grpc") is None:
        raise InputError("executor ray:// needs grpcio; run: pip install 'transformer-nas[ray]'")
    _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise NasError(
            f"executor ray: cannot join the cluster at {address}: {first}; is it running, and "
            f"with Ray {ray.__version__} and Python {sys.version_info[0]}.{sys.version_info[1]}?"
        ) from error


def _check_reachable(address: str) -> None:
    """Raise if nothing listens at an address; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # `auto`, or what Ray has to make sense of
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise NasError(
            f"executor ray: cannot join the cluster at {address}: {error.strerror or error}; is it "
            "running, and its port open to this machine?"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the handlers that Ray replaces with its own."""
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _loopback() -> Iterator[None]:
    """Have Ray take 127.0.0.1 for this machine's address, and so listen there alone.

    Given that address for a node, it takes another one instead, except where it starts no clusters
    of several machines. That is so on macOS, and wherever the variable says so that is set in
    `_environment`; Ray reads it when it is imported, which may be long ago.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _environment() -> Iterator[None]:
    """Set what the processes of a local cluster are to find in their environment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(
        {
            **without_database(before),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_TOKEN": _TOKEN,
            "RAY_worker_niceness": "0",  # it is 15 otherwise, behind all else on a busy machine
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def needs(*, threads: int, device: str, job_bytes: int) -> dict[str, Any]:
    """Return what a worker asks of the cluster, as options of a Ray actor.

    Args:
        threads: CPUs.
        device: The kind of device asked for.
        job_bytes: What a job takes at most, on its device.

    Raises:
        DeviceError: If a GPU is asked for by number, or there is none.
    """
    import ray

    has_gpu = ray.cluster_resources().get("GPU", 0) > 0
    if device.startswith("cuda:"):
        raise DeviceError(f"device {device}: Ray chooses the GPU; write cuda")
    if device == "cuda" and not has_gpu:
        raise DeviceError("device cuda: the cluster has no GPU; add a node that has one")
    on_gpu = has_gpu and device in ("auto", "cuda")
    count = str(threads)
    variables = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    return {
        "num_cpus": threads,
        "num_gpus": gpu_share(job_bytes, _gpu_bytes()) if on_gpu else 0,
        "memory": WORKER_BYTES + (0 if on_gpu else job_bytes),
        "max_concurrency": 4,  # the job, the mailbox, a cancel and a close at once
        "max_restarts": 0,  # a new one is asked for instead
        "runtime_env": {"env_vars": KEPT_MEMORY | variables},
    }


def gpu_share(job_bytes: int, gpu_bytes: int) -> float:
    """Return the share of a GPU that a job asks for, in steps that Ray knows, at most 1."""
    share = (job_bytes + CONTEXT_BYTES) / (USABLE * gpu_bytes)
    return min(1.0, math.ceil(share * GPU_GRAIN) / GPU_GRAIN)


def _gpu_bytes() -> int:
    """Return the memory of the cluster's smallest GPU, asked of each node that has one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, num_gpus=1 / GPU_GRAIN, max_retries=0)(_own_gpu_bytes)
    nodes = [one for one in ray.nodes() if one["Alive"] and one["Resources"].get("GPU")]
    asked = [
        ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(one["NodeID"], soft=False)
        ).remote()
        for one in nodes
    ]
    try:
        found: list[int] = ray.get(asked, timeout=ASK_SECONDS)
    except ray.exceptions.RayError as error:
        raise DeviceError(f"executor ray: the cluster's GPUs cannot be asked: {error}") from error
    return min(found)


def _own_gpu_bytes() -> int:
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)


def room(wanted: Mapping[str, Any]) -> int:
    """Return how many more workers the cluster's free resources seem to have room for.

    Sums over nodes are compared, so that it may be too many; those wait until there is room.
    """
    import ray

    free = ray.available_resources()
    asked = {"CPU": wanted["num_cpus"], "GPU": wanted["num_gpus"], "memory": wanted["memory"]}
    return min(int(free.get(name, 0) / amount) for name, amount in asked.items() if amount)
