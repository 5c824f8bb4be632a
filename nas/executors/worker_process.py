"""One worker on this machine: a process `python -m nas.worker`, its pipes and its end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.executors import kernel
from nas.records import Job, Outcome, to_plain
from nas.store.environment import without_database

# Seconds that a worker gets to leave when its input is closed, and to be gone when it is killed.
CLOSE_SECONDS = 5.0
STDERR_LINES = 40

# glibc's malloc keeps the memory of a training step for the next one instead of giving it back
# and having it cleared again: 30.8 ms instead of 32.2 a step of 768 tokens, 0.17M parameters.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),  # the largest that glibc accepts
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
KILLED = -9  # exit status after SIGKILL
# Last words of a process that memory ran out under, where no exception could say so.
RAN_OUT = ("MemoryError", "bad_alloc", "Cannot allocate memory", "out of memory")

Message = dict[str, Any]
Events = queue.Queue[tuple["WorkerProcess", Message | None]]


class WorkerProcess:
    """A worker and the job that it has.

    Args:
        events: Where its messages go, each with the worker; None comes last, when it has ended.
        threads: Its CPU threads.
        pin: Further variables: which GPU it sees.

    Attributes:
        job: What it was given and has not brought back.
        begun: Whether it has begun with that job.
        spoke: Whether it ever said anything: it started well.
        pin: As given.
    """

    def __init__(self, events: Events, threads: int, pin: Mapping[str, str]) -> None:
        self.pin = pin
        self.job: Job | None = None
        self.begun = self.spoke = False
        self._last_words, self._kills = "", kernel.kills()
        self._group_ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nas.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",  # what a task prints is not for us to judge
            env=_environment(threads, pin),
            **_apart_from_the_terminal(),
        )
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def last_line(self) -> str:
        """The last line that a dead one said on standard error, else how it ended."""
        lines = self._last_words.strip().splitlines()
        return lines[-1] if lines else self._cause(self._process.wait(), ran_out=False)

    def give(self, job: Job) -> None:
        """Hand it a job."""
        self.job, self.begun, self._kills = job, False, kernel.kills()
        self.send({"job": to_plain(job)})

    def send(self, message: Message) -> None:
        """Send it a message. If it is dead this is lost, and its end comes as an event."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def note_end(self) -> None:
        """If it has died, end what it started: a child that holds its pipes would hide its end."""
        if not self._group_ended and self._process.poll() is not None:
            self._end_group()

    def lost(self) -> Outcome:
        """Return the outcome of the job that it died under."""
        job, code = self.job, self._process.wait()
        assert job is not None
        ran_out = self._ran_out(code)
        return Outcome(
            candidate_id=job.candidate.id,
            state="oom" if ran_out else "failed",
            tokens=job.checkpoint.tokens if job.checkpoint else 0,
            error=f"the worker process died ({self._cause(code, ran_out=ran_out)})",
            traceback=self._last_words,
            lost=True,
        )

    def _ran_out(self, code: int) -> bool:
        if code == KILLED and self._kills is not None:
            return (kernel.kills() or 0) > self._kills
        return code != 0 and any(words in self._last_words for words in RAN_OUT)

    def _cause(self, code: int, *, ran_out: bool) -> str:
        if code >= 0:
            return f"exit status {code}"
        if code != KILLED:
            return signal.Signals(-code).name
        if ran_out:
            return "SIGKILL by the kernel, which had no memory left"
        return "SIGKILL" if self._kills is not None else "SIGKILL; perhaps for want of memory"

    def kill(self) -> None:
        """End it at once, with all that it started."""
        self._end_group()
        self._process.kill()
        self.release()

    def close_input(self) -> None:
        """Ask it to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is dead already
            self._process.stdin.close()

    def wait_or_kill(self) -> None:
        """Wait until it has ended; kill it if that takes long."""
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self.release()

    def release(self) -> None:
        """Close the pipes of a process that has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # it has only closed its own ends
            self._process.wait(CLOSE_SECONDS)
        self._end_group()
        self._reader.join(CLOSE_SECONDS)
        if self._reader.is_alive():
            return  # a process that it started and that left its group still holds a pipe
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what could not be sent to a dead worker
                pipe.close()

    def _end_group(self) -> None:
        """Kill its process group, once: later the number may be another's."""
        if not self._group_ended and os.name != "nt":
            with contextlib.suppress(ProcessLookupError, PermissionError):  # there is none any more
                os.killpg(self._process.pid, signal.SIGKILL)
        self._group_ended = True

    def _read(self, events: Events) -> None:
        """Pass on its messages; None means that it ended."""
        errors = threading.Thread(target=self._keep_last_words, daemon=True)
        errors.start()
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # it was killed while it wrote
            for line in self._process.stdout:
                events.put((self, json.loads(line)))
        errors.join()
        events.put((self, None))

    def _keep_last_words(self) -> None:
        assert self._process.stderr is not None
        lines: list[str] = []
        for line in self._process.stderr:
            lines = [*lines[1 - STDERR_LINES :], line]
            self._last_words = "".join(lines)


def _environment(threads: int, pin: Mapping[str, str]) -> dict[str, str]:
    """Return the worker's variables: they must be set before torch is imported."""
    count = str(threads)
    pinned = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join(one or str(Path.cwd()) for one in sys.path)
    return {**KEPT_MEMORY, **without_database(os.environ), **pinned, **pin, "PYTHONPATH": path}


def _apart_from_the_terminal() -> dict[str, Any]:
    """Keep a Ctrl-C at the terminal from the workers: only the driver takes it."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined, unused-ignore]  # Windows only
    return {"start_new_session": True}
