"""The workers of the Ray executor: asked for, taken in, listened to and let go.

One more than there is room for is always asked for, up to the limit, so that a node that joins is
made use of at once and an autoscaler sees that more would be.
"""

from __future__ import annotations

import contextlib
import math
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.errors import NasError
from nas.executors.ray_cluster import room
from nas.executors.ray_worker import News, Order, RayWorker, versions
from nas.executors.worker_process import CLOSE_SECONDS

START_SECONDS = 120.0  # that the first worker may take to begin
RETRY_SECONDS = 30.0  # after a worker that could not begin for a cause that stays
AGAIN_SECONDS = 1.0  # after one whose node went, or was too busy: the next may be well
# What Ray's memory monitor says of a worker that it ended; of the kernel's it only supposes.
RAN_OUT = ("running low on memory", "memory pressure")


@dataclass(slots=True, eq=False)
class Worker:
    """One worker, as the driver sees it.

    Attributes:
        sees: Whether it sees the study's folder; it does until it says otherwise.
    """

    actor: Any
    mail: Any  # the reference of what its mailbox will give
    sees: bool = True

    def send(self, order: Order) -> None:
        """Have it carry out an order; the answer comes by mail, or not at all if it dies."""
        self.actor.run.options(num_returns=0).remote(order)

    def cancel(self, number: int) -> None:
        """Have an order's job saved and left."""
        self.actor.cancel.options(num_returns=0).remote(number)


class Crew:
    """The workers that there are and those that were asked for.

    Args:
        wanted: What a worker asks of the cluster (see `ray_cluster.needs`).
        most: The most at once; None: as many as there is room for.
    """

    def __init__(self, wanted: Mapping[str, Any], most: int | None) -> None:
        self._wanted, self._most = wanted, most
        self.workers: list[Worker] = []
        self._coming: dict[Any, Any] = {}  # actors, by the reference of their first answer
        self._begun = False  # whether there ever was a worker
        self._ask_again = 0.0
        self._last_cause = ""  # that a worker could not begin
        self._alone_since = time.monotonic()  # while there is no worker

    @property
    def alone_seconds(self) -> float:
        """How long there has been no worker."""
        return 0.0 if self.workers else time.monotonic() - self._alone_since

    def begin(self) -> None:
        """Wait for the first worker.

        Raises:
            NasError: If none can begin.
        """
        import ray

        while not self.workers:
            if self.alone_seconds > START_SECONDS:
                wanted = {k: self._wanted[k] for k in ("num_cpus", "num_gpus", "memory")}
                last = f"; the last node asked {self._last_cause}" if self._last_cause else ""
                raise NasError(
                    f"executor ray: no worker could begin in {START_SECONDS:.0f} s: it asks for "
                    f"{wanted}, and of {ray.cluster_resources()} the cluster has free "
                    f"{ray.available_resources()}{last}; add a node, or end what else runs there"
                )
            self.listen(1.0)

    def listen(self, timeout: float) -> list[tuple[Worker, list[News] | Exception]]:
        """Return what workers say, waiting up to `timeout` seconds for the first.

        Returns:
            Their news, or the error of one that was lost and is let go of.

        Raises:
            NasError: If the cluster is not fit to run jobs.
            ConnectionError: If it cannot be reached.
        """
        self._ask_for_more()
        heard: list[tuple[Worker, list[News] | Exception]] = []
        for reference in self._ready(timeout):
            if reference in self._coming:
                self._arrive(reference)
            else:
                worker = next(one for one in self.workers if one.mail == reference)
                heard.append((worker, self._open_mail(worker)))
        return heard

    def _ask_for_more(self) -> None:
        import ray

        limit = math.inf if self._most is None else self._most - len(self.workers)
        if self._coming or limit <= 0 or time.monotonic() < self._ask_again:
            return
        kind = ray.remote(RayWorker).options(**self._wanted)
        for _ in range(int(min(limit, max(1, room(self._wanted))))):
            actor = kind.remote()
            self._coming[actor.about.remote()] = actor

    def _ready(self, timeout: float) -> list[Any]:
        import ray

        references = [*self._coming, *(worker.mail for worker in self.workers)]
        if not references:  # the last one asked for could not begin, a moment ago
            time.sleep(timeout)
            return []
        found, rest = ray.wait(references, timeout=timeout)
        more, _ = ray.wait(rest, num_returns=len(rest), timeout=0) if found and rest else ([], [])
        return [*found, *more]

    def _arrive(self, about: Any) -> None:
        """Take in a worker that began, if its node is like this machine."""
        import ray

        actor = self._coming.pop(about)
        try:
            found = ray.get(about)
        except ray.exceptions.RayError as error:
            stays = getattr(error, "actor_init_failed", False)
            self._refuse(actor, f"cannot begin a worker: {cause_of(error)}", stays=stays)
            return
        if found != versions():
            self._refuse(actor, f"has {found}, and this machine {versions()}", stays=True)
            return
        self.workers.append(Worker(actor, actor.mail.remote()))
        self._begun = True

    def _refuse(self, actor: Any, cause: str, *, stays: bool) -> None:
        """Let go of a worker that did not begin, and ask for another one later.

        Args:
            actor: The worker.
            cause: What its node is told to have or to lack.
            stays: Whether the next one fails by it too. A node that goes while a worker is placed
                on it is no such cause: the search waits for the next node.

        Raises:
            NasError: If it stays and there never was a worker.
        """
        import ray

        ray.kill(actor)
        self._last_cause = cause
        self._ask_again = time.monotonic() + (RETRY_SECONDS if stays else AGAIN_SECONDS)
        if stays and not self._begun:
            raise NasError(
                f"executor ray: a node of the cluster {cause}; install the same transformer-nas "
                "and Python on every node"
            )

    def _open_mail(self, worker: Worker) -> list[News] | Exception:
        import ray

        try:
            news: list[News] = ray.get(worker.mail)
        except ray.exceptions.RayError as error:
            self.drop(worker)
            lost: Exception = error
            return lost
        worker.mail = worker.actor.mail.remote()
        return news

    def drop(self, worker: Worker) -> None:
        """End a worker's process at once; one that is out of reach may live on unheard."""
        import ray

        self.workers.remove(worker)
        self._alone_since = time.monotonic()
        ray.kill(worker.actor)

    def close(self) -> None:
        """End all workers."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError, ConnectionError):  # it is gone already
            if leaving := [worker.actor.close.remote() for worker in self.workers]:
                ray.wait(leaving, num_returns=len(leaving), timeout=CLOSE_SECONDS)
            for actor in (*(worker.actor for worker in self.workers), *self._coming.values()):
                ray.kill(actor)
        self.workers, self._coming = [], {}


def cause_of(error: Exception) -> str:
    """Return the line of Ray's message that says why, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("\t")]
    told = [line for line in lines if line]
    return textwrap.shorten(told[-1] if told else type(error).__name__, 200)


def ran_out(error: Exception) -> bool:
    """Say whether Ray ended a worker because its node ran out of memory."""
    return any(words in str(error) for words in RAN_OUT)
