"""Run jobs in worker processes on this machine, each `python -m nas.worker` over pipes.

Workers are started at once and live as long as the executor: importing torch takes seconds. One
that dies is replaced; if it had begun with its job, that comes back as lost, else the new one gets
it. On a machine with GPUs each worker sees one of them (`placement`).
"""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any

import nas.errors
from nas.device import Gpu, cpu_count
from nas.errors import NasError
from nas.executors import kernel
from nas.executors.placement import cpu_workers, may_have_gpus, pinned_to, place
from nas.executors.worker_process import Events, Message, WorkerProcess
from nas.records import Job, Latency, Numerics, Outcome, Progress, begun, from_plain, to_plain

PROBE_SECONDS = 120.0
ASKS = 3  # workers that are asked before their deaths are taken for an answer
# So many workers, beside two for each slot, may die one after another before any says a word.
FALSE_STARTS = 5


class ProcessExecutor:
    """Worker processes on this machine.

    Args:
        workers: Processes, each running one job at a time; None: as many as fit.
        threads: CPU threads of each.
        device: The kind of device that the study asks for.
        job_bytes: What a job takes at most.

    Raises:
        DeviceError: If the device is not here.
        NasError: If a worker died or did not answer.
    """

    def __init__(self, *, workers: int | None, threads: int, device: str, job_bytes: int) -> None:
        self._threads, self._asked = threads, workers
        self._events: Events = queue.Queue()
        self._false_starts = 0
        self._workers: list[WorkerProcess] = []
        gpus = self._gpus(device)
        pins: list[Mapping[str, str]]
        if gpus:
            places = place(gpus, job_bytes=job_bytes, workers=workers, cpus=cpu_count())
            # One that the user named goes by its number, which has to stay what it is.
            pins = [{} if ":" in device else pinned_to(gpu) for gpu in places]
        else:
            # Nobody knows the room of another device, such as Apple's, which all would share.
            fit = 1 if device == "mps" else cpu_workers(job_bytes, kernel.free_bytes())
            pins = [{}] * (workers or fit)
        self._workers = [self._start(pin) for pin in pins]
        self._has_places = bool(gpus)

    @property
    def slots(self) -> int:
        """Jobs that can run at once."""
        return len(self._workers)

    def _gpus(self, device: str) -> list[Gpu]:
        """Ask a worker which GPUs there are; it ends then, since it holds some of their memory."""
        if not may_have_gpus(device):
            return []
        self._workers = [self._start({})]
        try:
            found = self._ask("devices", device)
        finally:
            self.close()
        return [from_plain(Gpu, one) for one in found]

    def probe(self, job: Job) -> Numerics:
        """Let the first worker choose the numerics.

        Raises:
            DeviceError: If the device is not here.
            NasError: If the worker died or did not answer.
        """
        found = from_plain(Numerics, self._ask("probe", to_plain(job), "numerics"))
        if found.device != "cpu" and not self._has_places and self._asked is None:
            surplus, self._workers = self._workers[1:], self._workers[:1]
            for worker in surplus:  # `auto` was one that they would have to share
                worker.kill()
        return found

    def latency(self, job: Job) -> Latency:
        """Let the first worker measure a shape's latency.

        Raises:
            DeviceError: If the device is not here.
            NasError: If the worker died or did not answer.
        """
        return from_plain(Latency, self._ask("latency", to_plain(job)))

    def _ask(self, what: str, about: Any, answer: str = "") -> Any:
        """Return the first worker's answer; no job may run meanwhile.

        Args:
            what: Under which key it is asked.
            about: What is sent.
            answer: Under which key it answers; the same if left out.
        """
        for _ in range(ASKS):
            asked = self._workers[0]
            asked.send({what: about})
            message = self._answer_of(asked)
            if message is None:
                continue
            if "error" in message:
                kind = getattr(nas.errors, message["error"]["kind"], NasError)
                raise kind(message["error"]["message"])
            return message[answer or what]
        raise NasError(f"a worker ended before it began: {asked.last_line}")

    def _answer_of(self, asked: WorkerProcess) -> Message | None:
        """Return what a worker says next; None if it died, and another one is in its place."""
        while True:
            try:
                worker, message = self._events.get(timeout=PROBE_SECONDS)
            except queue.Empty:
                raise NasError(
                    f"a worker did not answer in {PROBE_SECONDS:.0f} s; is the machine overloaded?"
                ) from None
            if worker is asked and message is not None:
                asked.spoke = True
                return message
            self._event(worker, message)  # none of them has a job
            if worker is asked:
                return None

    def submit(self, job: Job) -> None:
        """Give a job to a free worker."""
        next(worker for worker in self._workers if worker.job is None).give(job)

    def events(self, timeout: float) -> list[Progress | Outcome]:
        """Return what happened, waiting up to `timeout` seconds for the first.

        Raises:
            NasError: If workers end as soon as they start.
        """
        for worker in self._workers:
            worker.note_end()
        found: list[Progress | Outcome] = []
        try:
            found.extend(self._event(*self._events.get(timeout=timeout)))
            while True:
                found.extend(self._event(*self._events.get_nowait()))
        except queue.Empty:
            return found

    def _event(self, worker: WorkerProcess, message: Message | None) -> list[Progress | Outcome]:
        if worker not in self._workers:
            return []  # it was killed: what it still said does not count
        if message is None:
            return self._replace(worker)
        worker.spoke, self._false_starts = True, 0
        if "begun" in message:
            worker.begun = True
            return [begun(message["begun"])]
        if "progress" in message:
            return [from_plain(Progress, message["progress"])]
        worker.job = None
        return [from_plain(Outcome, message["outcome"])]

    def _replace(self, worker: WorkerProcess) -> list[Progress | Outcome]:
        """Start another worker in the place of one that ended; tell what became of its job."""
        worker.release()
        self._note_false_start(worker)
        fresh = self._workers[self._workers.index(worker)] = self._start(worker.pin)
        if worker.job is None:
            return []
        if worker.begun:
            return [worker.lost()]
        fresh.give(worker.job)
        return []

    def _note_false_start(self, worker: WorkerProcess) -> None:
        self._false_starts = 0 if worker.spoke else self._false_starts + 1
        if self._false_starts > FALSE_STARTS + 2 * len(self._workers):
            raise NasError(
                f"{self._false_starts} workers ended one after another before they began, the last "
                f"one: {worker.last_line}; try: python -m nas.worker < /dev/null"
            )

    def cancel(self, candidate_id: str) -> None:
        """Ask the worker of a candidate to save and stop."""
        if (worker := self._worker_of(candidate_id)) is not None:
            worker.send({"cancel": True})

    def kill(self, candidate_id: str) -> bool:
        """End the worker of a candidate at once and start another one in its place."""
        worker = self._worker_of(candidate_id)
        if worker is None:
            return False
        self._workers[self._workers.index(worker)] = self._start(worker.pin)
        worker.kill()
        return True

    def _worker_of(self, candidate_id: str) -> WorkerProcess | None:
        for worker in self._workers:
            if worker.job is not None and worker.job.candidate.id == candidate_id:
                return worker
        return None

    def close(self) -> None:
        """Close the workers' input, which ends them; kill those that do not end."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.close_input()
        for worker in workers:
            worker.wait_or_kill()

    def _start(self, pin: Mapping[str, str]) -> WorkerProcess:
        return WorkerProcess(self._events, self._threads, pin)
