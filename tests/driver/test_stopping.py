"""Interrupts: the first one saves and leaves, the second one leaves at once; both can go on."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

import nas
from nas.driver.stopping import Stop


@pytest.fixture(autouse=True)
def hang_up_is_heard():
    """Under `nohup` the signal is ignored, by this process and those that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


# Runs a search and sends itself interrupts in a phase of it, as many as are asked for.
SCRIPT = """
import json, os, signal, sys, threading, time
import nas
from nas.config import config_from_plain

plain, phase, count = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
left = [count]

def interrupt(number=signal.SIGINT):
    while left[0] > 0:
        left[0] -= 1
        print("interrupt", flush=True)
        signal.raise_signal(number)

def soon():  # the driver waits for someone: from another thread, as a terminal does
    time.sleep(0.05)
    while left[0] > 0:
        left[0] -= 1
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

if phase == "preparing":
    import nas.data.prepared as prepared
    whole = prepared.write_json
    def write_json(*args):
        interrupt()
        return whole(*args)
    prepared.write_json = write_json
if phase == "probing":
    from nas.executors.processes import ProcessExecutor
    probe = ProcessExecutor.probe
    def probing(self, job):
        threading.Thread(target=soon, daemon=True).start()
        return probe(self, job)
    ProcessExecutor.probe = probing
if phase == "writing":
    import sqlalchemy as sa
    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def before(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO nas_metric"):
            interrupt()

def listen(event):
    name, role = type(event).__name__, getattr(event, "role", "")
    if phase == "training" and name == "Progress":
        interrupt()
    if phase == "finals" and name == "CandidateStarted" and role != "search":
        interrupt()

nas.search(config_from_plain(plain, where="test", name="tiny"), listener=listen)
"""
CHANGES = {
    "executor": "processes",
    "per_candidate": {"tokens": 20_000, "eta": 1},
    "stop": {"candidates": 2},
    "finalists": {"top": 1, "seeds": 1},
}


def losses(study):
    return {row.candidate_id: row.metrics["val_loss"] for row in study.trials()}


def command(configure, phase, count):
    plain = configure(**CHANGES).to_plain()
    plain = {key: value for key, value in plain.items() if value is not None} | {"workers": 1}
    return [sys.executable, "-c", SCRIPT, json.dumps(plain), phase, str(count)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("phase", ["preparing", "probing", "training", "finals", "writing"])
def test_interrupts_in_each_phase_leave_what_goes_on(configure, phase, count):
    whole = losses(nas.search(configure("whole", **CHANGES)))
    left = subprocess.run(
        command(configure, phase, count), capture_output=True, text=True, timeout=100, check=False
    )
    assert left.returncode != 0, left.stdout
    gently = count == 1 and phase != "preparing"  # where nothing is to be saved yet
    assert ("SearchInterrupted" in left.stderr) == gently, left.stderr
    assert "KeyboardInterrupt" in left.stderr or gently
    if gently:
        states = {row.state for row in nas.open_study("tiny").trials()}
        assert "running" not in states
    assert losses(nas.search(configure(**CHANGES))) == whole


def test_the_first_asks_and_the_second_leaves():
    with Stop() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_where_nothing_is_to_be_saved_the_first_leaves():
    with Stop(at_once=True) as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        stop.at_once = False
        signal.raise_signal(signal.SIGINT)
        assert stop.asked


def test_handlers_are_put_back():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Stop():
        assert signal.getsignal(signal.SIGHUP) not in before
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_a_terminal_that_is_closed_is_never_the_second():
    """Its shell sends the signal too."""
    with Stop() as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert stop.asked


def test_nohup_goes_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


TERMINAL = """
import signal, sys, types
from pathlib import Path
import nas
driver = sys.modules["nas.driver"] = types.ModuleType("nas.driver")  # all of it takes a second
driver.__path__ = [str(Path(nas.__file__).parent / "driver")]
from nas.driver.stopping import Stop
with Stop() as stop:
    print("ready", flush=True)
    while not stop.asked:
        signal.pause()
    print("nobody reads this", flush=True)  # an error where the terminal is gone
open(sys.argv[1], "w").write("left in peace")
"""


def test_a_closed_terminal_does_not_break_what_is_still_said(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, str(tmp_path / "said")],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    os.close(ours)  # the terminal is closed; the kernel sends SIGHUP
    process.wait(30)
    assert (tmp_path / "said").read_text() == "left in peace"
