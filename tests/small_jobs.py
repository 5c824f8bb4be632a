"""Jobs of a small model on a small text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from task_cases import request_for

from nas.data import Split
from nas.families import architecture
from nas.records import Candidate, Job, Numerics, Recipe

NUMERICS = Numerics(device="cpu", precision="fp32", attention="bmm", threads=1)
RECIPE = Recipe(context=16, batch=4, rate=0.01, warmup_tokens=320, cooldown=0.25)


def job_maker(folder: Path) -> Callable[..., Job]:
    """Prepare data in a folder and return what makes jobs on it, with any fields changed."""
    from nas.tasks.language_modeling import LanguageModeling

    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    split = Split(train=0.8, val=0.2, test=0.0)
    request = request_for("language_modeling", str(folder / "text.txt"), split=split)
    data = LanguageModeling.prepare(request, folder / "data")

    def make_job(seed: int = 0, recipe: Recipe = RECIPE, **changes: Any) -> Job:
        candidate = Candidate(
            architecture=architecture("llama", n_layer=2, d_model=16, n_head=2, d_ff=24),
            recipe=recipe,
            seed=seed,
            data_fingerprint=data.info.fingerprint,
        )
        job = Job(
            study="s",
            candidate=candidate,
            task_spec=data.spec,
            data=str(data.folder),
            rungs=(1280, 6400),
            rung=1,
            numerics=NUMERICS,
            eval_tokens=1024,
            checkpoint_dir=str(folder / "checkpoints"),
        )
        return replace(job, **changes)

    return make_job
