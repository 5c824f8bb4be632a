"""`nas.finetune`: a trained model goes on with new data, by the training loop of searches.

`settings` checks what is asked for and makes the job. What comes out is a model like any other,
with the measurements from before and after.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from nas.artifact import Manifest
from nas.artifact.manifest import PROCESSOR_FILES, WEIGHTS
from nas.artifact.weights import empty_network, fill_network
from nas.artifact.writing import write_model
from nas.device import has_fast_bf16, resolve_device
from nas.errors import InputError, NasError
from nas.finetuning.settings import Budget, check_head, config_for, job_for, prepare
from nas.loading import What, load
from nas.model import Model, check_free, load_folder
from nas.records import Evaluation, Job, Numerics, Progress
from nas.training.loop import DivergedError, Training, fresh_network
from nas.training.numerics import arithmetic
from nas.worker import is_out_of_memory, probe

BEFORE = "val_before"  # the metrics of val before the first step

Report = Callable[[Progress, int], None]


def finetune(
    model: Model | What,
    data: str | Path | Mapping[str, str],
    *,
    out: str | Path | None = None,
    epochs: float | None = None,
    examples: int | None = None,
    tokens: int | None = None,
    rate: float | None = None,
    freeze_trunk: bool = False,
    head: str = "auto",
    task: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    device: str = "auto",
    report: Report | None = None,
) -> Model:
    """Train a model on with new data, and return the result; the model given stays as it is.

    Args:
        model: A model, or what `load` takes for one.
        data: As `task.data` in a study file: a file, a folder, `builtin:NAME`, or a mapping with
            train and any of val and test. It is read as the model's own was: with its tokenizer,
            its items, its image size.
        out: A folder for the result; None: it is not written.
        epochs: Passes over the train split; 3 unless the budget is in examples or tokens.
        examples: The budget in examples.
        tokens: The budget in tokens.
        rate: Base learning rate; None: a tenth of what a search trains with.
        freeze_trunk: Whether only the head trains.
        head: `auto`: a new one if the data's classes are not the model's; `keep`: the model's,
            where the data may have only some of its classes; `new`.
        task: Options of the task as in a study file, such as `{"text_column": "body"}`.
        recipe: As in a study file, such as `{"batch": 8, "dropout": 0.1}`.
        split: Shares of train, val and test.
        seed: Decides the order of the data and the weights of a new head.
        device: auto, cpu, cuda, cuda:N or mps.
        report: Called about twice a second with the progress and the budget in tokens.

    Returns:
        The model, in eval mode. Its metrics have `val_before` (before the first step; with a new
        head chance decides) beside `val` and, where a share is kept for it, `test`.

    Raises:
        InputError: If an option is wrong, or the data cannot be read or do not fit the model.
        NasError: If training diverged or memory ran out.
        KeyboardInterrupt: If the user stopped it; then nothing is written.
    """
    if out is not None:
        check_free(Path(out))
    base = model if isinstance(model, Model) else load(model, device="cpu")
    check_head(head)
    budget = Budget(epochs=epochs, examples=examples, tokens=tokens)
    config = config_for(base, data=data, task=task, recipe=recipe, split=split, rate=rate)
    with tempfile.TemporaryDirectory(prefix="nas-finetune-") as folder:
        prepared = prepare(base, config, head, Path(folder))
        job = job_for(base, config, prepared, budget, seed=seed, device=resolve_device(device))
        job = replace(job, numerics=_numerics(job))
        network = _network(base, job, is_new=head == "new")
        if freeze_trunk:
            _freeze(network, base)
        before, after = _train(job, network, report)
    metrics = {BEFORE: before, **after.metrics}
    return _result(base, job, network, replace(after, metrics=metrics), out)


def _numerics(job: Job) -> Numerics:
    """Return the arithmetic; which is fastest is timed where there is a choice."""
    asked = job.numerics
    if asked.precision != "auto":
        return asked
    return probe(job) if has_fast_bf16(asked.device) else replace(asked, precision="fp32")


def _network(base: Model, job: Job, *, is_new: bool) -> nn.Module:
    """Return a copy of the model's network; weights of classes that are new are fresh."""
    spec, architecture = job.task_spec, job.candidate.architecture
    network = fresh_network(architecture, spec, job.candidate.seed)
    fresh, kept = network.state_dict(), base.state_dict()
    if is_new or spec.labels != base.task_spec.labels:
        # What another class would change in shape is of the classes.
        more = empty_network(architecture, replace(spec, labels=(*spec.labels, ""))).state_dict()
        kept = {n: weight for n, weight in kept.items() if fresh[n].shape == more[n].shape}
    network.load_state_dict({**fresh, **kept})
    return network


def _head_of(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights behind the part of the network that has the blocks.

    There are none where the embedding is the head.
    """
    blocks = {id(weight) for weight in network.hidden_matrices()}  # type: ignore[operator]  # every family's module has it
    parts = [list(part.parameters()) for part in network.children()]
    trunk = max(i for i, part in enumerate(parts) if any(id(w) in blocks for w in part))
    inside = {id(weight) for part in parts[: trunk + 1] for weight in part}
    return [w for part in parts[trunk + 1 :] for w in part if id(w) not in inside]


def _freeze(network: nn.Module, base: Model) -> None:
    """Let only the head learn.

    Raises:
        InputError: If the embedding is the head.
    """
    head = _head_of(network)
    if not head:
        raise InputError(
            f"finetune: freeze_trunk: the head of this {base.architecture.family} model is its "
            "embedding, which is frozen too: nothing is left to train"
        )
    network.requires_grad_(requires_grad=False)
    for weight in head:
        weight.requires_grad_()


def _train(
    job: Job, network: nn.Module, report: Report | None
) -> tuple[dict[str, float], Evaluation]:
    """Train a network in place; return the measurements before and after."""
    budget = job.rungs[-1]

    def tell(progress: Progress) -> None:
        if report is not None:
            report(progress, budget)

    try:
        with arithmetic(job.numerics):
            training = Training(job, network, _head_of(network))
            before = training.measure("val")
            return before, training.run(tell, lambda: False)[-1]
    except DivergedError as error:
        raise NasError(
            f"finetune: {error}; try a lower rate than {job.candidate.recipe.rate:.2g}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise NasError("finetune: memory ran out; give a smaller recipe.batch") from error


def _result(
    base: Model, job: Job, network: nn.Module, evaluation: Evaluation, out: str | Path | None
) -> Model:
    """Return the tuned model, from its folder if it is to have one."""
    manifest = replace(Manifest.of_job(job, evaluation), candidate_id="", base=_origin(base))
    if out is not None:
        write_model(Path(out), network.state_dict(), manifest, processor_dir=base.folder)
        return load_folder(Path(out), device=job.numerics.device, trust=True)
    # Weights of its own: those of the training are views of the optimizer's vectors.
    state = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    tuned = fill_network(empty_network(job.candidate.architecture, job.task_spec), state)
    files = {n: info for n, info in base.manifest.files.items() if n in PROCESSOR_FILES}
    params = sum(weight.numel() for weight in tuned.parameters())
    return Model(tuned, replace(manifest, files=files, params=params), base.folder)


def _origin(base: Model) -> dict[str, str]:
    manifest = base.manifest
    weights = manifest.files[WEIGHTS].sha256 if WEIGHTS in manifest.files else ""
    known = {
        "candidate_id": manifest.candidate_id,
        "study": manifest.study,
        "weights": weights,
    }
    return {name: value for name, value in known.items() if value}
