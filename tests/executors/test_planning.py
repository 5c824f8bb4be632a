"""How many jobs are said to run at once before anything is started."""

import pytest
from needs import need_module

from nas.device import Gpu, cpu_count
from nas.errors import DeviceError, NasError
from nas.executors import planning
from nas.executors.placement import CONTEXT_BYTES, place
from nas.executors.planning import planned_slots
from nas.executors.processes import ProcessExecutor

JOB_BYTES = 2**24


def planned(name, **changes):
    given = {"workers": None, "threads": 1, "device": "cpu", "job_bytes": JOB_BYTES}
    return planned_slots(name, **given | changes)


def test_it_is_what_the_processes_then_have():
    executor = ProcessExecutor(workers=None, threads=1, device="cpu", job_bytes=JOB_BYTES)
    try:
        assert planned("processes") == executor.slots
    finally:
        executor.close()


def test_a_number_that_the_user_chose_is_kept_to():
    assert planned("processes", workers=7) == 7
    assert planned("ray://nowhere:10001", workers=7) == 7, "nothing is asked"
    assert planned("inline", workers=7) == 1


def test_on_gpus_it_is_as_many_as_they_take(monkeypatch):
    each = int((JOB_BYTES + CONTEXT_BYTES) / 0.9)
    gpus = [Gpu(number=0, free_bytes=each * 3 // 2), Gpu(number=1, free_bytes=0)]
    monkeypatch.setattr(planning, "devices", lambda _: gpus)  # no machine here has any
    monkeypatch.setattr(planning, "cpu_count", lambda: 16)
    expected = len(place(gpus, job_bytes=JOB_BYTES, workers=None, cpus=16))
    assert planned("processes", device="cuda") == expected == 2


def test_a_device_that_is_not_here_is_said():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="cuda"):
        planned("processes", device="cuda")


def test_a_ray_that_would_be_started_here_has_as_many_as_there_are_cores(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert planned("ray") == cpu_count()


def test_a_cluster_that_is_not_there_is_said(monkeypatch):
    need_module("ray", 'pip install "transformer-nas[ray]"')
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(NasError, match=r"cannot join the cluster at 127\.0\.0\.1:1"):
        planned("ray")
