"""Run one job: build or resume, train, measure, write what is to be kept.

As a program (`python -m nas.worker`) it reads messages from standard input, one JSON object a
line, and answers on standard output: `{"probe": job}`, `{"latency": job}`, `{"devices": kind}`,
`{"job": job}` and `{"cancel": true}` come in, `{"numerics": ...}`, `{"latency": ...}`,
`{"devices": ...}`, `{"begun": id}`, `{"progress": ...}`, `{"outcome": ...}` and `{"error": ...}` go
out. It ends when its input does, so that no worker outlives its driver. It has no database.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from nas.device import Gpu, resolve_device
from nas.errors import CheckpointError, NasError, disk_fault
from nas.plugins import allow
from nas.records import (
    Evaluation,
    Job,
    Latency,
    Numerics,
    Outcome,
    Progress,
    from_plain,
    stuck,
    to_plain,
)

if TYPE_CHECKING:
    from torch import nn

    from nas.artifact.writing import Written

Report = Callable[[Progress], None]

# How errors without a class of their own say that memory ran out: torch's allocators, C++, cuBLAS.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "_ALLOC_FAILED")
# Seconds after which a job that was asked to stop says where it stands.
STUCK_SECONDS = 5.0
# Where the kernel looks for memory first when the machine has none left, so that it does not end
# the driver: from -1000 (never) to 1000 (first).
OOM_SCORE = "500"
PR_SET_PDEATHSIG = 1  # of prctl(2): which signal the death of the parent sends


def run_job(job: Job, report: Report, should_stop: Callable[[], bool]) -> Outcome:
    """Run a job to its end, whatever that is: no exception of a candidate leaves this function.

    Args:
        job: What to train.
        report: Called about twice a second.
        should_stop: Asked before each step; if true, the candidate is saved and left.

    Returns:
        The outcome; its state says whether the rung was reached.
    """
    from nas.training.numerics import arithmetic

    _allow_code(job)
    with arithmetic(job.numerics):
        run = _Run(job)
        try:
            return run.finish(report, should_stop)
        except BaseException as error:  # also what a task means by sys.exit()
            outcome = run.failed(error)
    del run
    give_back_memory()
    return outcome


class _Run:
    """One job under way, with the seconds that each part of it took."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.timings: dict[str, float] = {}
        self.training: Any = None  # a Training, once built
        self.note = ""

    def finish(self, report: Report, should_stop: Callable[[], bool]) -> Outcome:
        from nas.training.loop import InterruptedTrainingError

        self.training = self._timed("build", self._build)
        before = self.training.state.seconds
        try:
            self._timed("run", lambda: self.training.run(report, should_stop))
        except InterruptedTrainingError:
            return self._outcome("interrupted", checkpoint=self._checkpoint())
        finally:
            self.timings["train"] = self.training.state.seconds - before
        self._timed("latency", self._measure_latency)
        if self.job.rung < len(self.job.rungs) - 1:
            return self._outcome("paused", checkpoint=self._checkpoint())
        saved = self._timed("save", self._save_model)
        return self._outcome("complete", checkpoint=self.training.uncooled, **saved)

    def _build(self) -> Any:
        """Return the training where its checkpoint left it; at its beginning if that is damaged."""
        from nas.training.loop import Training

        try:
            return Training(self.job)
        except CheckpointError as error:
            self.note = f"{error}; training begins anew"
            self.job = replace(self.job, checkpoint=None)
            return Training(self.job)

    def failed(self, error: BaseException) -> Outcome:
        from nas.training.loop import DivergedError

        if words := disk_fault(error):
            return self._without_disk(words)
        if isinstance(error, DivergedError):
            return self._outcome("diverged", error=str(error))
        state = "oom" if is_out_of_memory(error) else "failed"
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))
        return self._outcome(state, error=text, traceback=trace)

    def _without_disk(self, words: str) -> Outcome:
        """Return an outcome in which nothing of this job counts: it is done again from its start.

        What could not be written is no fault of the candidate.
        """
        checkpoint = self.job.checkpoint
        return Outcome(
            candidate_id=self.job.candidate.id,
            state="interrupted",
            tokens=0 if checkpoint is None else checkpoint.tokens,
            timings=self.timings,
            disk_fault=words,
            note=self.note,
        )

    def _checkpoint(self) -> Any:
        if self.job.checkpoint_dir is None:
            return None
        folder = Path(self.job.checkpoint_dir)
        return self._timed("save", lambda: self.training.save(folder))

    def _measure_latency(self) -> None:
        from nas.measure import measure_latency

        if self.job.latency is not None:
            network, spec = self.training.network, self.job.task_spec
            found = measure_latency(network, spec, self.job.latency)
            self.training.note_metrics("", found.metrics)

    def _save_model(self) -> dict[str, Any]:
        from nas.tasks.metrics import badness

        evaluation, objective = self.training.evaluations[-1], self.job.objective
        limit = self.job.keep_better_than
        if self.job.model_dir is None:
            return {}
        if limit is not None:
            value = evaluation.metrics["val"][objective.removeprefix("val_")]
            if badness(value, objective) >= badness(limit, objective):
                return {}
        written = write_trained_model(self.job, self.training.network, evaluation)
        return {
            "model_saved": True,
            "model_bytes": written.bytes,
            "model_sha256": written.sha256,
        }

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        try:
            return work()
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - begun

    def _outcome(self, state: str, **fields: Any) -> Outcome:
        training = self.training
        return Outcome(
            candidate_id=self.job.candidate.id,
            state=state,
            tokens=training.tokens if training is not None else 0,
            evaluations=training.evaluations if training is not None else (),
            timings=self.timings,
            note=self.note,
            **fields,
        )


def write_trained_model(job: Job, network: nn.Module, evaluation: Evaluation) -> Written:
    """Write the model folder of a job that came to its end.

    Raises:
        ArtifactError: If it cannot be written.
    """
    from nas.artifact import Manifest
    from nas.artifact.writing import write_model

    assert job.model_dir is not None
    manifest = Manifest.of_job(job, evaluation)
    return write_model(
        Path(job.model_dir), network.state_dict(), manifest, processor_dir=Path(job.data)
    )


def _allow_code(job: Job) -> None:
    """Let the family and the task of a job be imported: its driver was told to trust them."""
    allow([job.candidate.architecture.family, job.task_spec.task])


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an exception means that memory ran out, on the CPU or a device."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(one in str(error) for one in OUT_OF_MEMORY)


def give_back_memory() -> None:
    """Return to the system and to other jobs what a failed job has held."""
    import torch

    gc.collect()  # an exception and the frames that it names hold each other
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # glibc keeps what was freed below what is still used (and see `KEPT_MEMORY`).
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def is_spoilt(outcome: Outcome) -> bool:
    """Say whether a failure leaves a process in which no other job on the GPU could succeed."""
    return outcome.state == "failed" and "CUDA error" in outcome.error


def devices(kind: str) -> list[Gpu]:
    """Return the GPUs that a kind of device means here; none if it means another kind.

    Args:
        kind: A device name, or `auto`.

    Raises:
        DeviceError: If the device is not here.
    """
    import torch

    found = resolve_device(kind)
    if not found.startswith("cuda"):
        return []
    if ":" in found:
        numbers = [int(found.partition(":")[2])]
    else:
        numbers = list(range(torch.cuda.device_count()))
    return [Gpu(number=one, free_bytes=int(torch.cuda.mem_get_info(one)[0])) for one in numbers]


def probe(job: Job) -> Numerics:
    """Choose the numerics on this machine by timing steps of a typical job.

    A job that does not train has the expected ones: why it does not is for its candidates to say.

    Args:
        job: Its numerics may say `auto` for device and precision.

    Raises:
        DeviceError: If the device is not here.
    """
    from nas.training.numerics import expected_numerics

    asked = job.numerics
    for micro_batch in (None, 1):  # in parts where memory runs out
        try:
            return _probe(replace(job, micro_batch=micro_batch))
        except NasError:
            raise
        except Exception as error:  # the candidates meet it too, and store it
            is_last = not is_out_of_memory(error)
        give_back_memory()
        if is_last:
            break
    return expected_numerics(asked.device, asked.precision, asked.threads)


def _probe(job: Job) -> Numerics:
    from nas.training.loop import Training
    from nas.training.numerics import choose_numerics

    _allow_code(job)

    def step(numerics: Numerics) -> Callable[[], None]:
        training = Training(replace(job, numerics=numerics, checkpoint=None))
        return training.step

    asked = job.numerics
    return choose_numerics(asked.device, asked.precision, asked.threads, step)


def latency(job: Job) -> Latency:
    """Measure the latency of a job's shape on this machine, with fresh weights.

    Args:
        job: Its `latency` says what is measured; nothing of it is trained.

    Raises:
        DeviceError: If the device is not here.
    """
    from nas.measure import measure_latency
    from nas.training.loop import fresh_network

    assert job.latency is not None
    _allow_code(job)
    network = fresh_network(job.candidate.architecture, job.task_spec, job.candidate.seed)
    return measure_latency(network, job.task_spec, job.latency)


def where_it_stands(thread: threading.Thread) -> str:
    """Return what a thread is at, as a traceback has it; empty if it has ended."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or not thread.is_alive():  # then the number may be another's
        return ""
    return "".join(traceback.format_stack(frame))


class _Program:
    """The worker as a program: a thread reads messages while jobs run in the main thread."""

    def __init__(self, messages: TextIO, answers: TextIO) -> None:
        self._messages, self._answers = messages, answers
        self._work: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled = threading.Event()
        self._writing = threading.Lock()
        self._running = ""  # the candidate in training

    def serve(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        import nas.training.loop  # noqa: F401  # takes seconds: while the driver gets ready

        while True:
            self._answer(self._work.get())

    def _read(self) -> None:
        for line in self._messages:
            message = json.loads(line)
            if "cancel" in message:
                self._cancelled.set()
                later = threading.Timer(STUCK_SECONDS, self._tell_where, [self._running])
                later.daemon = True
                later.start()
            else:
                self._cancelled.clear()
                self._work.put(message)
        os._exit(0)  # the driver is gone: whatever runs is resumed from its checkpoint

    def _answer(self, message: dict[str, Any]) -> None:
        try:
            if "probe" in message:
                self._send("numerics", probe(from_plain(Job, message["probe"])))
                return
            if "latency" in message:
                self._send("latency", latency(from_plain(Job, message["latency"])))
                return
            if "devices" in message:
                self._send("devices", devices(message["devices"]))
                return
            job = from_plain(Job, message["job"])
            self._running = job.candidate.id
            self._send("begun", self._running)
            outcome = run_job(job, lambda p: self._send("progress", p), self._cancelled.is_set)
            self._running = ""
            self._send("outcome", outcome)
            if is_spoilt(outcome):
                os._exit(1)  # another worker takes this one's place
        except NasError as error:
            self._send("error", {"kind": type(error).__name__, "message": str(error)})

    def _tell_where(self, candidate_id: str) -> None:
        """Say where a job stands that was asked to stop and has not."""
        if candidate_id and candidate_id == self._running:
            where = where_it_stands(threading.main_thread())
            self._send("progress", stuck(candidate_id, where))

    def _send(self, kind: str, record: Any) -> None:
        with self._writing:
            self._answers.write(json.dumps({kind: to_plain(record)}) + "\n")
            self._answers.flush()


def _die_with_driver() -> None:
    """Have Linux kill this process when its driver dies: even one that is stopped or hangs.

    Elsewhere the end of the input tells, which takes a moment in which Python runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Serve jobs until the input ends; what jobs print goes to standard error."""
    _die_with_driver()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    faulthandler.enable()  # a crash leaves its place as last words
    with contextlib.suppress(OSError):  # other systems have none
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _Program(sys.stdin, answers).serve()


if __name__ == "__main__":
    main()
