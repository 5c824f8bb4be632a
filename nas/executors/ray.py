"""Run jobs on a Ray cluster, whose nodes may die, leave and join.

The driver waits at the mailboxes of its workers (`ray_crew`, `ray_worker`): nothing is polled.
What workers that do not see the study's folder send is written there before it is passed on.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nas.errors
from nas.errors import NasError
from nas.executors.processes import PROBE_SECONDS
from nas.executors.ray_cluster import Cluster, needs
from nas.executors.ray_crew import Crew, Worker, cause_of, ran_out
from nas.executors.ray_files import read_file, read_folder, write_file, write_folder
from nas.executors.ray_worker import News, Order
from nas.records import (
    CheckpointRef,
    Job,
    Latency,
    Numerics,
    Outcome,
    Progress,
    from_plain,
    to_plain,
)
from nas.worker import is_spoilt

# That jobs wait for a node when all are gone; less than a silent job is given (see `watch`).
ALONE_SECONDS = 300.0
MANIFEST = "nas.json"  # written last (see `artifact`, which imports torch)
MARK = ".seen-by-"


@dataclass(slots=True, eq=False)
class _Task:
    number: int
    what: str  # as an order's
    job: Job
    worker: Worker | None = None
    answer: News | None = None  # of one that is not a job


class RayExecutor:
    """Workers on a Ray cluster.

    Args:
        workers: The most at once; None: as many as the cluster has room for.
        threads: CPUs and threads of each.
        device: The kind of device asked for; a cluster's GPUs are taken by `auto` and `cuda`.
        job_bytes: What a job takes at most on its device.
        address: `ray://host:port`; None: what RAY_ADDRESS says, else a cluster of this machine.

    Raises:
        NasError: If there is no cluster, or no room on it for a worker.
    """

    def __init__(
        self,
        *,
        workers: int | None,
        threads: int,
        device: str,
        job_bytes: int,
        address: str | None = None,
    ) -> None:
        self._tasks: dict[int, _Task] = {}  # at work, by number
        self._waiting: deque[_Task] = deque()
        self._events: list[Progress | Outcome] = []
        self._numbers = itertools.count()
        self._data: dict[str, Any] = {}  # references of data in the object store, by folder
        self._marks: dict[str, Path] = {}  # by folder of data
        self._closing: list[Callable[[], None]] = []
        cluster = Cluster(address, cpus=None if workers is None else workers * threads)
        self._closing.append(cluster.close)
        try:
            wanted = needs(threads=threads, device=device, job_bytes=job_bytes)
            self._crew = Crew(wanted, workers)
            self._closing.append(self._crew.close)
            self._crew.begin()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """Jobs that can run at once: the workers there are now, and at least one to wait for."""
        return max(1, len(self._crew.workers))

    def probe(self, job: Job) -> Numerics:
        """Let a worker choose the numerics.

        Raises:
            DeviceError: If the device is not there.
            NasError: If the worker died or did not answer.
        """
        return from_plain(Numerics, self._ask("probe", job))

    def latency(self, job: Job) -> Latency:
        """Let a worker measure a shape's latency.

        Raises:
            DeviceError: If the device is not there.
            NasError: If the worker died or did not answer.
        """
        return from_plain(Latency, self._ask("latency", job))

    def _ask(self, what: str, job: Job) -> Any:
        task, begun = self._queue(what, job), time.monotonic()
        while task.answer is None:
            if time.monotonic() - begun > PROBE_SECONDS:
                raise NasError(f"executor ray: no worker answered in {PROBE_SECONDS:.0f} s")
            self._turn(1.0)
        record = task.answer.record
        if task.answer.what == "error":
            raise getattr(nas.errors, record["kind"], NasError)(record["message"])
        return record

    def submit(self, job: Job) -> None:
        """Give a job to a free worker, or to the next one that there is."""
        self._queue("job", job)

    def _queue(self, what: str, job: Job) -> _Task:
        task = _Task(next(self._numbers), what, job)
        self._waiting.append(task)
        self._hand_out()
        return task

    def events(self, timeout: float) -> list[Progress | Outcome]:
        """Return what happened, waiting up to `timeout` seconds for the first.

        Raises:
            NasError: If the connection to the cluster broke, or all its nodes are gone for long.
            OSError: If what came cannot be written into the study's folder.
        """
        self._turn(0.0 if self._events else timeout)
        found, self._events = self._events, []
        return found

    def cancel(self, candidate_id: str) -> None:
        """Ask the worker of a candidate to save and stop; a job that waits ends at once."""
        task = self._task_of(candidate_id)
        if task is None:
            return
        if task.worker is not None:
            task.worker.cancel(task.number)
            return
        self._waiting.remove(task)
        self._events.append(_ended(task.job, "interrupted", checkpoint=task.job.checkpoint))

    def kill(self, candidate_id: str) -> bool:
        """End a job at once, without saving; no outcome of it follows.

        Returns:
            Whether there was such a job.
        """
        task = self._task_of(candidate_id)
        if task is None:
            return False
        if task.worker is None:
            self._waiting.remove(task)
        else:
            del self._tasks[task.number]
            self._crew.drop(task.worker)
        return True

    def _task_of(self, candidate_id: str) -> _Task | None:
        jobs = [task for task in (*self._tasks.values(), *self._waiting) if task.what == "job"]
        return next((task for task in jobs if task.job.candidate.id == candidate_id), None)

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        while self._closing:
            self._closing.pop()()
        for mark in self._marks.values():
            mark.unlink(missing_ok=True)

    def _turn(self, timeout: float) -> None:
        """Take in what happened, waiting up to `timeout` seconds for the first."""
        try:
            for worker, heard in self._crew.listen(timeout):
                if isinstance(heard, Exception):
                    self._lose(worker, heard)
                    continue
                for news in heard:
                    self._read(worker, news)
            self._hand_out()
        except ConnectionError as error:
            raise NasError(
                f"executor ray: the connection to the cluster broke: {error}; everything that "
                "came in is kept, and the same command goes on"
            ) from error
        if self._waiting and self._crew.alone_seconds > ALONE_SECONDS:
            raise NasError(
                f"executor ray: the cluster has had no node for a job in {ALONE_SECONDS:.0f} s; "
                "everything is kept: start nodes, and the same command goes on"
            )

    def _lose(self, worker: Worker, error: Exception) -> None:
        """End the task of a worker that died or cannot be reached."""
        words = f"the worker process died ({cause_of(error)})"
        for task in [one for one in self._tasks.values() if one.worker is worker]:
            del self._tasks[task.number]
            if task.what != "job":
                record = {"kind": NasError.__name__, "message": words}
                task.answer = News(number=task.number, what="error", record=record)
                continue
            state = "oom" if ran_out(error) else "failed"
            outcome = _ended(task.job, state, error=words, traceback=str(error), lost=True)
            self._events.append(outcome)

    def _read(self, worker: Worker, news: News) -> None:
        task = self._tasks.get(news.number)
        if task is None:
            return  # of a job that was given up
        if news.what == "blind":
            worker.sees = False
            self._send(task, worker)
            return
        if news.what not in ("progress", "outcome"):
            del self._tasks[task.number]
            task.answer = news
            return
        event = _received(task.job, news)
        self._events.append(event)
        if isinstance(event, Outcome):
            del self._tasks[task.number]
            if is_spoilt(event):
                self._crew.drop(worker)

    def _hand_out(self) -> None:
        """Give waiting tasks to free workers."""
        busy = {id(task.worker) for task in self._tasks.values()}
        free = [worker for worker in self._crew.workers if id(worker) not in busy]
        for worker in free[: len(self._waiting)]:
            self._send(self._waiting.popleft(), worker)

    def _send(self, task: _Task, worker: Worker) -> None:
        task.worker = worker
        self._tasks[task.number] = task
        worker.send(self._order(task, alone=not worker.sees))

    def _order(self, task: _Task, *, alone: bool) -> Order:
        """Return what a worker is sent; one that does not see the study gets all it needs.

        Raises:
            OSError: If the study's folder cannot be read or written.
        """
        job = task.job
        order = Order(
            number=task.number, what=task.what, job=to_plain(job), mark=self._mark(job.data)
        )
        if not alone:
            return order
        content = None if job.checkpoint is None else read_file(Path(job.checkpoint.uri))
        return replace(order, data=(self._in_store(job.data),), checkpoint=content)

    def _in_store(self, folder: str) -> Any:
        """Return the reference of a folder of data, which is put into the object store once."""
        import ray

        if folder not in self._data:
            self._data[folder] = ray.put(read_folder(Path(folder)))
        return self._data[folder]

    def _mark(self, folder: str) -> str:
        """Return a file beside the data whose name is known only by seeing it or being told."""
        if folder not in self._marks:
            for stale in Path(folder).glob(f"{MARK}*"):  # of a driver that was killed
                stale.unlink(missing_ok=True)
            path = Path(folder) / f"{MARK}{secrets.token_hex(16)}"
            path.touch()
            self._marks[folder] = path
        return str(self._marks[folder])


def _ended(job: Job, state: str, **fields: Any) -> Outcome:
    """Return the outcome of a job of which no more is known than where it began."""
    tokens = job.checkpoint.tokens if job.checkpoint else 0
    return Outcome(candidate_id=job.candidate.id, state=state, tokens=tokens, **fields)


def _received(job: Job, news: News) -> Progress | Outcome:
    """Write what came with news into the study's folder and return the record.

    Raises:
        OSError: If it cannot be written.
    """
    for name, content in news.checkpoints.items():
        assert job.checkpoint_dir is not None
        write_file(Path(job.checkpoint_dir) / name, content)
    if news.model is not None:
        assert job.model_dir is not None
        write_folder(Path(job.model_dir), news.model, last=MANIFEST)
    if news.what == "progress":
        progress = from_plain(Progress, news.record)
        return replace(progress, checkpoint=_placed(job, progress.checkpoint))
    outcome = from_plain(Outcome, news.record)
    return replace(outcome, checkpoint=_placed(job, outcome.checkpoint))


def _placed(job: Job, checkpoint: CheckpointRef | None) -> CheckpointRef | None:
    """Return where a checkpoint lies here, whatever its path on the worker's node."""
    if checkpoint is None or job.checkpoint_dir is None:
        return None
    return replace(checkpoint, uri=str(Path(job.checkpoint_dir) / Path(checkpoint.uri).name))
