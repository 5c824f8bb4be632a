"""kill -9 of driver and workers: what was trained twice, what outlives whom, what is left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pids import lives, wait_until

import nas

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "tests" / "benchmarks"
ORPHAN_SECONDS = 10.0

# Runs a search with a safety checkpoint every 0.2 s and writes down what happens, as it happens.
SCRIPT = """
import functools, json, sys
import nas
from nas.config import config_from_plain
from nas.driver import jobs

jobs.Job = functools.partial(jobs.Job, checkpoint_seconds=0.2)
log = open(sys.argv[2], "a")

def listen(event):
    plain = {"event": type(event).__name__, "tokens": getattr(event, "tokens", None)}
    checkpoint = getattr(event, "checkpoint", None)
    plain["checkpoint"] = checkpoint and checkpoint.tokens
    print(json.dumps(plain), file=log, flush=True)

config = config_from_plain(json.loads(sys.argv[1]), where="test", name="tiny")
nas.search(config, listener=listen)
"""
LONG = {
    "per_candidate": {"tokens": 200_000, "eta": 1},
    "stop": {"candidates": 1},
    "finalists": {"top": 0, "seeds": 1},
}


def losses(study):
    return {row.candidate_id: row.metrics["val_loss"] for row in study.trials()}


def started(configure, log, executor):
    plain = configure(**LONG, executor=executor).to_plain()
    plain = {key: value for key, value in plain.items() if value is not None} | {"workers": 1}
    run = [sys.executable, "-c", SCRIPT, json.dumps(plain), str(log)]
    return subprocess.Popen(run, stderr=subprocess.PIPE, text=True)


def events(log):
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_killed_driver_costs_no_more_than_the_time_since_the_last_checkpoint(
    configure, tmp_path, executor
):
    whole = losses(nas.search(configure("whole", **LONG)))
    log = tmp_path / "log"
    kills, repeated = 3, 0
    for turn in range(kills):
        seen = len(events(log))
        with started(configure, log, executor) as driver:
            wait_until(lambda seen=seen: [e for e in events(log)[seen:] if e["checkpoint"]][1:])
            driver.kill()
        if turn:
            resumed = next(e for e in events(log)[seen:] if e["event"] == "CandidateStarted")
            saved = max(e["checkpoint"] or 0 for e in events(log)[:seen])
            reached = max(e["tokens"] for e in events(log)[:seen] if e["event"] == "Progress")
            assert resumed["tokens"] >= saved > 0
            repeated += max(0, reached - resumed["tokens"])
    found = [e["checkpoint"] for e in events(log) if e["checkpoint"]]
    longest = max(b - a for a, b in zip([0, *found], found, strict=False))
    assert repeated <= kills * longest
    assert losses(nas.search(configure(**LONG))) == whole


def worker_alone(before):
    """A driver that starts a worker; returns both processes' ids."""
    code = f"""
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {before!r}], stdin=subprocess.PIPE)
print(worker.pid, flush=True)
time.sleep(600)
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    driver = subprocess.Popen([sys.executable, "-c", code], **pipes)
    return driver, int(driver.stdout.readline())


SERVING = "import nas.worker; nas.worker.main()"
# In a native call that lets no other thread of Python run, as a library may hang.
HANGING = """
import ctypes, threading, nas.worker
def hang(self):
    threading.Thread(target=self._read, daemon=True).start()
    ctypes.PyDLL(None).sleep(60)
nas.worker._Program.serve = hang
nas.worker.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("worker", "seconds"), [(SERVING, 0.3), (SERVING, 1.0), (SERVING, 6.0), (HANGING, 2.0)],
    ids=["starting", "importing torch", "waiting", "in a native call"],
)  # fmt: skip
def test_a_worker_does_not_outlive_its_killed_driver(worker, seconds):
    driver, pid = worker_alone(worker)
    try:
        time.sleep(seconds)
        assert lives(pid)
        driver.kill()
        driver.wait()
        wait_until(lambda: not lives(pid), ORPHAN_SECONDS)
    finally:
        driver.stdout.close()
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_stopped_worker_does_not_outlive_its_killed_driver():
    driver, pid = worker_alone(SERVING)
    time.sleep(2)
    os.kill(pid, signal.SIGSTOP)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    wait_until(lambda: not lives(pid), ORPHAN_SECONDS)


def run_benchmark(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments],
        capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_chaos():
    said = run_benchmark("chaos.py", "--runs", "1", "--candidates", "20", "--pause", "1", "8")
    assert "0 lost, 0 doubled, 0 unreadable folders" in said


@pytest.mark.slow
def test_a_crash_at_a_commit_fsync_rename_or_deletion_changes_no_result():
    said = run_benchmark("crash_points.py", "--seconds", "60")
    assert "0 went wrong" in said


@pytest.mark.slow
def test_a_driver_of_64_workers_keeps_pace_and_memory():
    run_benchmark("driver_throughput.py", "--candidates", "600", "--strategies", "random")
    run_benchmark("soak.py", "--candidates", "500", "--real", "30")
