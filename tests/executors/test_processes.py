"""Worker processes that die, hang and are killed, without a search around them."""

import os
import signal

import pytest
from pids import lives, wait_until

from nas.errors import DeviceError, NasError
from nas.executors import processes, worker_process
from nas.executors.processes import ProcessExecutor


def start(**changes):
    given = {"workers": 1, "threads": 1, "device": "cpu", "job_bytes": 2**20}
    return ProcessExecutor(**given | changes)


def wait_for_ever(executor):
    while True:
        executor.events(0.25)


def test_workers_that_die_as_they_start_end_the_search_with_their_last_words(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('this torch is broken')")
    monkeypatch.syspath_prepend(tmp_path)
    executor = start(workers=2)
    try:
        with pytest.raises(NasError, match=r"10 workers ended .* before they began, .*torch is br"):
            wait_for_ever(executor)
    finally:
        executor.close()


def test_what_a_worker_started_ends_with_it(monkeypatch, tmp_path):
    note = tmp_path / "pid"
    (tmp_path / "torch.py").write_text(
        "import pathlib, subprocess, sys, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    executor = start()
    try:
        wait_until(lambda: note.exists() and note.read_text())
        child = int(note.read_text())
        assert lives(child)
        note.unlink()
        os.kill(executor._workers[0].pid, signal.SIGKILL)
        wait_until(lambda: executor.events(0.1) == [] and not lives(child))
        wait_until(lambda: note.exists() and note.read_text())  # another worker is in its place
    finally:
        executor.close()
    wait_until(lambda: not lives(int(note.read_text())))  # it was killed, which takes a moment


def test_closing_kills_a_worker_that_does_not_leave(monkeypatch, tmp_path):
    monkeypatch.setattr(worker_process, "CLOSE_SECONDS", 0.2)
    executor = start()
    pid = executor._workers[0].pid
    os.kill(pid, signal.SIGSTOP)
    executor.close()
    assert not lives(pid)


@pytest.mark.slow
def test_a_device_that_is_not_here_is_refused_by_the_worker():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="device 'cuda' is not here"):
        start(device="cuda")


def test_without_a_sign_of_gpus_every_core_gets_a_worker(monkeypatch):
    started = []

    class NotStarted:
        def __init__(self, events, threads, pin):
            started.append(pin)

        def close_input(self):
            pass

        wait_or_kill = close_input

    monkeypatch.setattr(processes, "WorkerProcess", NotStarted)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    executor = start(workers=None, device="auto")
    assert started == [{}] * executor.slots
    assert executor.slots == processes.cpu_count()
    executor.close()


@pytest.mark.gpu
@pytest.mark.slow
def test_each_worker_sees_one_gpu():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    executor = start(workers=None, device="cuda", job_bytes=2**30)
    try:
        assert executor.slots >= 1
        seen = [worker.pin["CUDA_VISIBLE_DEVICES"] for worker in executor._workers]
        assert set(seen) <= {str(n) for n in range(torch.cuda.device_count())}
        assert len(executor._ask("devices", "cuda")) == 1
    finally:
        executor.close()
