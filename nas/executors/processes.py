"""Run jobs in worker processes on this machine, each `python -m nas.worker` over pipes.

Workers are started at once and live as long as the executor: importing torch takes seconds. One
that dies is replaced, and its job ends as failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nas.errors
from nas.errors import NasError
from nas.records import Job, Latency, Numerics, Outcome, Progress, from_plain, to_plain
from nas.store.environment import without_database

# Seconds that a worker gets to leave by itself when its input is closed.
CLOSE_SECONDS = 5.0
PROBE_SECONDS = 120.0
STDERR_LINES = 40

# glibc's malloc keeps the memory of a training step for the next one instead of giving it back
# and having it cleared again: 30.8 ms instead of 32.2 a step of 768 tokens, 0.17M parameters.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),  # the largest that glibc accepts
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[str]
    job: Job | None = None
    last_words: str = ""
    reader: threading.Thread | None = None

    def release(self) -> None:
        """Close the pipes of a process that has ended."""
        if self.reader is not None:
            self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what could not be sent to a dead worker
                pipe.close()


class ProcessExecutor:
    """Worker processes on this machine.

    Args:
        workers: Processes, each running one job at a time.
        threads: CPU threads of each.
    """

    def __init__(self, *, workers: int, threads: int) -> None:
        self.slots = workers
        self._threads = threads
        self._events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self._workers = [self._start() for _ in range(workers)]

    def probe(self, job: Job) -> Numerics:
        """Let the first worker choose the numerics.

        Raises:
            DeviceError: If the device is not here.
            NasError: If the worker died or did not answer.
        """
        return from_plain(Numerics, self._ask("probe", job)["numerics"])

    def latency(self, job: Job) -> Latency:
        """Let the first worker measure a shape's latency.

        Raises:
            DeviceError: If the device is not here.
            NasError: If the worker died or did not answer.
        """
        return from_plain(Latency, self._ask("latency", job)["latency"])

    def _ask(self, what: str, job: Job) -> dict[str, Any]:
        """Return the first worker's answer; no job may run meanwhile."""
        self._send(self._workers[0], {what: to_plain(job)})
        while True:
            try:
                worker, message = self._events.get(timeout=PROBE_SECONDS)
            except queue.Empty:
                raise NasError(
                    f"a worker did not answer in {PROBE_SECONDS:.0f} s; is the machine overloaded?"
                ) from None
            if message is None and worker is not self._workers[0]:
                self._replace(worker)  # one that had nothing to do
                continue
            if message is None:
                words = worker.last_words.strip() or f"exit status {worker.process.poll()}"
                raise NasError(f"a worker ended before it began: {words.splitlines()[-1]}")
            if "error" in message:
                kind = getattr(nas.errors, message["error"]["kind"], NasError)
                raise kind(message["error"]["message"])
            return message

    def submit(self, job: Job) -> None:
        """Give a job to a free worker."""
        worker = next(w for w in self._workers if w.job is None)
        worker.job = job
        self._send(worker, {"job": to_plain(job)})

    def events(self, timeout: float) -> list[Progress | Outcome]:
        """Return what happened, waiting up to `timeout` seconds for the first."""
        found: list[Progress | Outcome] = []
        try:
            found.extend(self._event(*self._events.get(timeout=timeout)))
            while True:
                found.extend(self._event(*self._events.get_nowait()))
        except queue.Empty:
            return found

    def _event(self, worker: _Worker, message: dict[str, Any] | None) -> list[Progress | Outcome]:
        if message is None:
            return self._replace(worker)
        if "progress" in message:
            return [from_plain(Progress, message["progress"])]
        worker.job = None
        return [from_plain(Outcome, message["outcome"])]

    def _replace(self, worker: _Worker) -> list[Progress | Outcome]:
        if worker not in self._workers:
            return []
        self._workers[self._workers.index(worker)] = self._start()
        job, code = worker.job, worker.process.wait()
        worker.release()
        if job is None:
            return []
        return [
            Outcome(
                candidate_id=job.candidate.id,
                state="failed",
                tokens=job.checkpoint.tokens if job.checkpoint else 0,
                error=f"the worker process died ({_cause(code)})",
                traceback=worker.last_words,
            )
        ]

    def cancel(self, candidate_id: str) -> None:
        """Ask the worker of a candidate to save and stop."""
        for worker in self._workers:
            if worker.job is not None and worker.job.candidate.id == candidate_id:
                self._send(worker, {"cancel": True})

    def close(self) -> None:
        """Close the workers' input, which ends them; kill those that do not end."""
        workers, self._workers = self._workers, []
        for worker in workers:
            assert worker.process.stdin is not None
            with contextlib.suppress(OSError):  # it is dead already
                worker.process.stdin.close()
        for worker in workers:
            try:
                worker.process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.release()

    def _start(self) -> _Worker:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nas.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=_environment(self._threads),
            **_apart_from_the_terminal(),
        )
        worker = _Worker(process)
        worker.reader = threading.Thread(target=self._read, args=(worker,), daemon=True)
        worker.reader.start()
        return worker

    def _read(self, worker: _Worker) -> None:
        """Pass on a worker's messages; None means that it ended."""
        errors = threading.Thread(target=_keep_last_words, args=(worker,), daemon=True)
        errors.start()
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self._events.put((worker, json.loads(line)))
        errors.join()
        self._events.put((worker, None))

    def _send(self, worker: _Worker, message: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(message) + "\n")
            worker.process.stdin.flush()
        except OSError:
            return  # it died: its end comes as an event, which ends its job as failed


def _keep_last_words(worker: _Worker) -> None:
    assert worker.process.stderr is not None
    lines: list[str] = []
    for line in worker.process.stderr:
        lines = [*lines[1 - STDERR_LINES :], line]
        worker.last_words = "".join(lines)


def _environment(threads: int) -> dict[str, str]:
    """Return the worker's variables: they must be set before torch is imported."""
    count = str(threads)
    pinned = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "PYTHONUNBUFFERED": "1"}
    return (
        KEPT_MEMORY
        | without_database(os.environ)
        | pinned
        | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    )


def _apart_from_the_terminal() -> dict[str, Any]:
    """Keep a Ctrl-C at the terminal from the workers: only the driver takes it."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined, unused-ignore]  # Windows only
    return {"start_new_session": True}


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    hint = "; the kernel may have run out of memory" if name == "SIGKILL" else ""
    return f"{name}{hint}"
