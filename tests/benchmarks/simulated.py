"""An executor whose workers answer at once, to see what the driver alone takes and keeps.

Measurements fall with size and tokens, with a noise that the candidate's id decides. A paused
candidate leaves a small file for a checkpoint, which the driver reads when it goes on.
"""

import hashlib
import random
from collections import deque
from pathlib import Path

import nas.executors
from nas.config import config_from_plain
from nas.families import cost_of
from nas.records import CheckpointRef, Evaluation, Job, Latency, Numerics, Outcome

CURVE_POINTS = 50  # over the full budget, as in training
DIVERGED = 0.02  # of candidates

nas.executors.EXECUTORS["simulated"] = "simulated:Simulated"


class Simulated:
    """As many instant workers as are asked for."""

    def __init__(self, *, workers: int | None, threads: int, **_others: object) -> None:
        self.slots = workers or 1
        self._ended: deque[Outcome] = deque()

    def probe(self, job: Job) -> Numerics:
        return Numerics(device="cpu", precision="fp32", attention="sdpa", threads=1)

    def latency(self, job: Job) -> Latency:
        return Latency(median_ms=1.0, low_ms=1.0, high_ms=1.0, repeats=1, items=1)

    def submit(self, job: Job) -> None:
        self._ended.append(outcome_of(job))

    def events(self, timeout: float) -> list[Outcome]:
        found = list(self._ended)
        self._ended.clear()
        return found

    def cancel(self, candidate_id: str) -> None:
        """Nothing runs that could be cancelled."""

    def kill(self, candidate_id: str) -> bool:
        return False

    def close(self) -> None:
        """There is nothing to close."""


def outcome_of(job: Job) -> Outcome:
    """Return how a job would have ended."""
    luck = random.Random(job.candidate.id)
    last = job.rung == len(job.rungs) - 1
    tokens = job.rungs[job.rung]
    if luck.random() < DIVERGED:
        return Outcome(candidate_id=job.candidate.id, state="diverged", tokens=0, error="simulated")
    return Outcome(
        candidate_id=job.candidate.id,
        state="complete" if last else "paused",
        tokens=tokens,
        evaluations=tuple(_measured(job, rung, luck) for rung in range(job.rung + 1)),
        checkpoint=None if last else _checkpoint(job, tokens),
        timings={"build": 0.01, "run": 1.0, "train": 0.9, "save": 0.02},
    )


def _measured(job: Job, rung: int, luck: random.Random) -> Evaluation:
    candidate, tokens = job.candidate, job.rungs[rung]
    recipe = candidate.recipe
    size = cost_of(
        candidate.architecture, job.task_spec, context=recipe.context, batch=recipe.batch
    )["non_embedding_params"]
    loss = 10 / size**0.1 * (job.rungs[-1] / tokens) ** 0.05 + luck.gauss(0, 0.02)
    points = max(1, CURVE_POINTS * tokens // job.rungs[-1])
    return Evaluation(
        rung=rung,
        tokens=tokens,
        seconds=1.0,
        metrics={"val": {"loss": loss, "perplexity": 2.7**loss, "bits_per_byte": loss / 0.69}},
        curve=tuple((tokens * (n + 1) // points, loss + 1 / (n + 1)) for n in range(points)),
    )


def _checkpoint(job: Job, tokens: int) -> CheckpointRef:
    path = Path(job.checkpoint_dir) / f"{job.candidate.id}-{tokens}.safetensors"
    content = path.name.encode()
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return CheckpointRef(uri=str(path), sha256=digest, bytes=len(content), tokens=tokens)


def config(folder: Path, name: str, *, candidates: int, workers: int, **changes: object):
    """Return a study of simulated candidates on a small text in a folder."""
    text = folder / "words.txt"
    text.write_text("so many words, and so few of them are new; " * 2000, encoding="utf-8")
    plain = {
        "format_version": 1,
        "space": "llama_base",
        "task": {"name": "language_modeling", "data": str(text)},
        "recipe": {"context": 64, "batch": 8, "rate": 0.01},
        "per_candidate": {"tokens": 409_600},
        "finalists": {"top": 0, "seeds": 1},
        "stop": {"candidates": candidates},
        "strategy": "random",
        "executor": "simulated",
        "workers": workers,
        "device": "cpu",
    }
    return config_from_plain(plain | changes, where="benchmark", name=name)
