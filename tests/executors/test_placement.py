"""How many workers go where, from what is free and what a job takes."""

import pytest

from nas.device import Gpu, cpu_count
from nas.executors.placement import (
    CONTEXT_BYTES,
    WORKER_BYTES,
    cpu_workers,
    may_have_gpus,
    pinned_to,
    place,
)

GB = 2**30
JOB = 2 * GB
EACH = (JOB + CONTEXT_BYTES) / 0.9  # of free memory


def gpus(*rooms):
    """GPUs with room for so many jobs each."""
    return [Gpu(number=n, free_bytes=int(EACH * (room + 0.5))) for n, room in enumerate(rooms)]


@pytest.mark.parametrize(
    ("rooms", "cpus", "expected"),
    [
        ((), 8, []),
        ((3,), 8, [0, 0, 0]),
        ((3,), 2, [0, 0]),
        ((0,), 8, [0]),  # the cost model may err, and memory that runs out is handled
        ((1, 2, 0, 4), 64, [3, 1, 0, 2, 3, 1, 3, 3]),
        ((1, 2, 0, 4), 3, [3, 1, 0]),
        ((1, 5), 4, [1, 0, 1, 1]),
    ],
)
def test_as_many_on_each_gpu_as_fit_and_no_more_than_cores(rooms, cpus, expected):
    assert place(gpus(*rooms), job_bytes=JOB, workers=None, cpus=cpus) == expected


@pytest.mark.parametrize(
    ("rooms", "workers", "expected"),
    [
        ((3, 3), 1, [0]),
        ((1, 5), 4, [1, 0, 1, 1]),
        ((1, 1), 5, [0, 1, 0, 1, 0]),  # more than fit: the user's word
    ],
)
def test_a_number_of_workers_is_kept_to(rooms, workers, expected):
    assert place(gpus(*rooms), job_bytes=JOB, workers=workers, cpus=1) == expected


def test_cpu_workers_are_one_a_core_as_far_as_memory_goes():
    assert cpu_workers(JOB, None) == cpu_count()
    assert cpu_workers(JOB, 10**6 * GB) == cpu_count()
    assert cpu_workers(JOB, 0) == 1
    room_for_one = int((JOB + WORKER_BYTES) * 1.9)
    assert cpu_workers(JOB, room_for_one) == 1


@pytest.mark.parametrize(
    ("visible", "gpu", "expected"),
    [(None, 2, "2"), ("5,7", 1, "7"), ("GPU-ab12, GPU-cd34", 1, "GPU-cd34"), ("", 0, "0")],
)
def test_a_worker_sees_its_gpu_among_those_that_the_user_chose(monkeypatch, visible, gpu, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert pinned_to(gpu) == {"CUDA_VISIBLE_DEVICES": expected}


def test_torch_is_asked_for_gpus_only_where_there_may_be_some(monkeypatch):
    assert may_have_gpus("cuda")
    assert may_have_gpus("cuda:1")
    assert not may_have_gpus("cpu")
    assert not may_have_gpus("mps")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not may_have_gpus("auto")
