"""The far end of the Ray executor: an actor that runs one job after another on a node.

It lives as long as the search, since importing torch takes seconds. Jobs run in a thread of its
own process; what happens goes into a mailbox, which the driver waits at. It has no database, and
no folder of the study either unless the node shares the study's file system: then checkpoints are
read and written there, otherwise they travel with orders and news. Data travels once a node and
models always do, so that a node which was given up for lost can no longer write a model.
"""

from __future__ import annotations

import os
import platform
import queue
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.data.prepared import DATA_JSON
from nas.errors import NasError
from nas.executors.ray_files import Content, Files, read_file, read_folder, write_file
from nas.executors.ray_node import Held, delete_leftovers
from nas.records import Job, Outcome, Progress, begun, from_plain, stuck, to_plain
from nas.store.environment import without_database
from nas.worker import STUCK_SECONDS, latency, probe, run_job, where_it_stands


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a worker is to do.

    Attributes:
        number: Tells one order from the next.
        what: `job`, `probe` or `latency`.
        job: The job as plain data, with the paths of the driver's machine.
        mark: A file in the data's folder; who sees it sees the study.
        data: A reference to the data's files, for those who do not see it.
        checkpoint: The content of the job's, likewise.
    """

    number: int
    what: str
    job: Any
    mark: str
    data: tuple[Any, ...] = ()
    checkpoint: Content | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What happened to an order.

    Attributes:
        number: The order's.
        what: `progress`, `outcome`, `numerics`, `latency`, `error`, or `blind`: the worker does
            not see the study and wants the order again, with data and checkpoint.
        record: As plain data.
        checkpoints: Files for the study's folder of checkpoints.
        model: The files of a finished model.
    """

    number: int
    what: str
    record: Any = None
    checkpoints: Files = field(default_factory=dict)
    model: Files | None = None


def versions() -> dict[str, str]:
    """Return what must be the same on all machines."""
    try:
        own = version("transformer-nas")
    except PackageNotFoundError:
        own = "a clone, not installed"
    return {"nas": own, "python": ".".join(platform.python_version_tuple()[:2])}


class RayWorker:
    """One slot of a cluster; every method may be called while a job runs."""

    def __init__(self) -> None:
        for name in os.environ.keys() - without_database(os.environ).keys():
            del os.environ[name]
        delete_leftovers()
        self._mailbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        # Number, candidate and thread of the job under way.
        self._training: tuple[int, str, threading.Thread] | None = None
        self._own = Held(f"worker-{os.getpid()}")
        self._data: dict[str, Held] = {}  # by fingerprint
        threading.Thread(target=_load_torch, daemon=True).start()

    def about(self) -> dict[str, str]:
        """Return this node's versions."""
        return versions()

    def mail(self) -> list[News]:
        """Wait until there is news and return all of it."""
        found = [self._mailbox.get()]
        while not self._mailbox.empty():
            found.append(self._mailbox.get())
        return found

    def cancel(self, number: int) -> None:
        """Have an order's job saved and left; one that does not says where it stands."""
        self._cancelled.add(number)
        later = threading.Timer(STUCK_SECONDS, self._tell_where, [number])
        later.daemon = True
        later.start()

    def _tell_where(self, number: int) -> None:
        training = self._training
        if training is None or training[0] != number:
            return
        _, candidate_id, thread = training
        record = to_plain(stuck(candidate_id, where_it_stands(thread)))
        self._mailbox.put(News(number=number, what="progress", record=record))

    def close(self) -> None:
        """Delete what was written on this node."""
        for held in (self._own, *self._data.values()):
            held.close()

    def run(self, order: Order) -> None:
        """Carry out an order; what comes of it is put into the mailbox."""
        try:
            self._carry_out(order)
        except NasError as error:
            self._fail(order, type(error).__name__, str(error), error)
        except Exception as error:
            self._fail(order, NasError.__name__, f"{type(error).__name__}: {error}", error)

    def _fail(self, order: Order, kind: str, message: str, error: Exception) -> None:
        if order.what != "job":
            record = {"kind": kind, "message": message}
            self._mailbox.put(News(number=order.number, what="error", record=record))
            return
        job = from_plain(Job, order.job)
        outcome = Outcome(
            candidate_id=job.candidate.id,
            state="failed",
            tokens=job.checkpoint.tokens if job.checkpoint else 0,
            error=f"{platform.node()}: {message.partition(chr(10))[0]}",
            traceback="".join(traceback.format_exception(error)),
            lost=True,  # it is the node's doing: a candidate's own failures do not come here
        )
        self._mailbox.put(News(number=order.number, what="outcome", record=to_plain(outcome)))

    def _carry_out(self, order: Order) -> None:
        job = from_plain(Job, order.job)
        sees = _sees(order.mark, job)
        if not sees and not order.data:
            self._mailbox.put(News(number=order.number, what="blind"))
            return
        job = self._here(job, order, sees=sees)
        if order.what == "job":
            self._train(job, order, sees=sees)
            return
        if order.what == "probe":
            news = News(number=order.number, what="numerics", record=to_plain(probe(job)))
        else:
            news = News(number=order.number, what="latency", record=to_plain(latency(job)))
        self._mailbox.put(news)

    def _train(self, job: Job, order: Order, *, sees: bool) -> None:
        def report(progress: Progress) -> None:
            record, files = to_plain(progress), {} if sees else self._new_checkpoints()
            self._mailbox.put(
                News(number=order.number, what="progress", record=record, checkpoints=files)
            )

        self._training = order.number, job.candidate.id, threading.current_thread()
        report(begun(job.candidate.id))
        outcome = run_job(job, report, lambda: order.number in self._cancelled)
        self._training = None
        if outcome.disk_fault and not sees:  # the node's disk is full, not the study's
            words = f"{platform.node()}: {outcome.disk_fault}"
            outcome = replace(outcome, state="failed", error=words, disk_fault="", lost=True)
        news = News(
            number=order.number,
            what="outcome",
            record=to_plain(outcome),
            checkpoints={} if sees else self._new_checkpoints(),
            model=_model_of(job, outcome),
        )
        self._own.empty()  # the arrays are mapped: they last without their files
        self._mailbox.put(news)

    def _here(self, job: Job, order: Order, *, sees: bool) -> Job:
        """Return the job with the paths that it has on this node."""
        own = self._own.folder
        if job.numerics.device.startswith("cuda:"):  # Ray shows a process only its own GPU
            job = replace(job, numerics=replace(job.numerics, device="cuda"))
        if job.model_dir is not None:
            job = replace(job, model_dir=str(own / "models" / job.candidate.id))
        if sees:
            return job
        job = replace(job, data=str(self._unpacked(job.candidate.data_fingerprint, order)))
        if job.checkpoint_dir is not None:
            job = replace(job, checkpoint_dir=str(own / "checkpoints"))
        if job.checkpoint is not None and order.checkpoint is not None:
            path = own / "begun-from" / Path(job.checkpoint.uri).name
            write_file(path, order.checkpoint)
            job = replace(job, checkpoint=replace(job.checkpoint, uri=str(path)))
        return job

    def _unpacked(self, fingerprint: str, order: Order) -> Path:
        import ray

        if fingerprint not in self._data:
            self._data[fingerprint] = Held(f"data-{fingerprint}")
        [reference] = order.data
        fetch: Callable[[], Files] = lambda: ray.get(reference)  # noqa: E731
        return self._data[fingerprint].unpack(fetch, last=DATA_JSON)

    def _new_checkpoints(self) -> Files:
        """Return the checkpoints written since the last call; their files are deleted."""
        paths = sorted((self._own.folder / "checkpoints").glob("*.safetensors"))
        found = {path.name: read_file(path) for path in paths}
        for path in paths:
            path.unlink()
        return found


def _model_of(job: Job, outcome: Outcome) -> Files | None:
    if job.model_dir is None or not outcome.model_saved:
        return None
    return read_folder(Path(job.model_dir))


def _sees(mark: str, job: Job) -> bool:
    """Say whether the study's folder is here too and checkpoints can be written there."""
    if not Path(mark).is_file():
        return False
    return job.checkpoint_dir is None or os.access(job.checkpoint_dir, os.W_OK)


def _load_torch() -> None:
    import nas.training.loop  # noqa: F401  # takes seconds: while the first order is on its way
