"""`nas.finetune`: a trained model goes on with new data, by the training loop of searches.

The data are read with the model's own tokenizer, items and image size, so that only its head may
be new. What comes out is a model like any other, with the measurements from before and after.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.artifact import Manifest
from nas.artifact.manifest import PROCESSOR_FILES, WEIGHTS, file_path
from nas.artifact.weights import empty_network, fill_network
from nas.artifact.writing import write_model
from nas.config import TuningConfig, tuning_from_plain
from nas.data import DataRequest, PreparedData, Trained
from nas.data.request import OptionValue
from nas.device import has_fast_bf16, resolve_device
from nas.errors import InputError, NasError
from nas.loading import What, load
from nas.model import Model, check_free, load_folder
from nas.records import Candidate, Evaluation, Job, Numerics, Progress, Recipe
from nas.tasks import task_class
from nas.training.loop import DivergedError, Training, fresh_network
from nas.training.numerics import arithmetic
from nas.training.schedule import auto_rate
from nas.worker import is_out_of_memory, probe

# Share of the rate from scratch.
GENTLE = 0.1
BATCH = 16
# Passes over the data. Source: Devlin et al., "BERT", 2019, A.3: 2 to 4.
EPOCHS = 3
WARMUP = 10  # one part of so many of the training
EVAL_TOKENS = 1 << 20  # of a split that a measurement reads at most
HEADS = ("auto", "keep", "new")
BEFORE = "val_before"  # the metrics of val before the first step
# Options of tasks that the model has decided.
DECIDED = ("tokenizer", "vocab_size", "image_size")

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
    _check_choices(head, {"epochs": epochs, "examples": examples, "tokens": tokens})
    config = _config(base, data, task, recipe, split, rate)
    with tempfile.TemporaryDirectory(prefix="nas-finetune-") as folder:
        prepared = _prepare(base, config, head, Path(folder))
        budget = _Budget(epochs=epochs, examples=examples, tokens=tokens)
        job = _job(base, config, prepared, budget, seed, resolve_device(device))
        network = _network(base, job, is_new=head == "new")
        if freeze_trunk:
            _freeze(network, base)
        before, after = _train(job, network, report)
    metrics = {BEFORE: before, **after.metrics}
    return _result(base, job, network, replace(after, metrics=metrics), out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Budget:
    """How long is trained; at most one of them is given."""

    epochs: float | None
    examples: int | None
    tokens: int | None

    def resolve(self, prepared: PreparedData, recipe: Any) -> int:
        """Return the budget in tokens, whole steps, one at least."""
        wanted: float
        if self.tokens is not None:
            wanted = self.tokens
        elif self.examples is not None:
            wanted = self.examples * recipe.context
        else:
            wanted = (EPOCHS if self.epochs is None else self.epochs) * _pass_tokens(prepared)
        step: int = recipe.tokens_per_step
        return max(1, round(wanted / step)) * step


def _pass_tokens(prepared: PreparedData) -> int:
    """Return the tokens of a pass over train, as steps count them: an example is a context."""
    info = prepared.info
    is_running_text = bool(info.bytes)
    examples = 0 if is_running_text else info.examples["train"]
    return max(info.tokens["train"], examples * info.spec.context)


def _check_choices(head: str, budgets: Mapping[str, float | None]) -> None:
    if head not in HEADS:
        raise InputError(f"finetune: head: got {head!r}, expected {', '.join(HEADS)}")
    given = {name: amount for name, amount in budgets.items() if amount is not None}
    if len(given) > 1:
        raise InputError(f"finetune: got {' and '.join(given)}; a budget is in one of them")
    for name, amount in given.items():
        if (
            isinstance(amount, bool)
            or not isinstance(amount, (int, float))
            or not 0 < amount < 1e15
        ):
            raise InputError(f"finetune: {name}: got {amount!r}, expected a number above 0")


def _config(
    base: Model,
    data: str | Path | Mapping[str, str],
    task: Mapping[str, Any] | None,
    recipe: Mapping[str, Any] | None,
    split: Mapping[str, float] | None,
    rate: float | None,
) -> TuningConfig:
    """Return the checked settings; what the model has decided is not to be set."""
    spec, options = base.task_spec, dict(task or {})
    name = options.pop("name", spec.task)
    kind = task_class(name)
    if kind.head != spec.head:
        raise InputError(
            f"finetune: a {base.architecture.family} model of {spec.task} has the head "
            f"{spec.head}, task '{name}' needs {kind.head}; tune it on its own task, or search "
            "with a family that has that head: nas families"
        )
    for decided in DECIDED:
        if decided in options:
            raise InputError(f"finetune: task.{decided}: the model's own stays; leave it out")
    own = {name: getattr(spec, name) for name in ("long_inputs", "chunk_overlap")}
    kept = {key: value for key, value in own.items() if key in kind.options}
    plain: dict[str, Any] = {
        "task": {"name": name, "data": str(data) if isinstance(data, Path) else data}
        | kept
        | options,
        "recipe": {"context": spec.context, "batch": BATCH} | dict(recipe or {}),
    }
    if rate is not None:
        plain["recipe"]["rate"] = rate
    if split is not None:
        plain["split"] = dict(split)
    config = tuning_from_plain(plain, where="finetune")
    if config.recipe.context > spec.context:
        raise InputError(
            f"finetune: recipe.context: got {config.recipe.context}, the model has positions for "
            f"{spec.context}"
        )
    return config


def _prepare(base: Model, config: TuningConfig, head: str, folder: Path) -> PreparedData:
    options: Mapping[str, OptionValue] = config.task.options
    request = DataRequest.of(
        config.task.data,
        split=config.split,
        context=config.recipe.context,
        options=options,
        trained=Trained(spec=base.task_spec, files=_processor(base), head=head),
    )
    prepared = task_class(config.task.name).prepare(request, folder)
    changes = ("labels", "long_inputs", "chunk_overlap", "context", "task")
    found = {name: getattr(base.task_spec, name) for name in changes}
    if replace(prepared.spec, **found) != base.task_spec:
        raise InputError(
            f"finetune: task '{config.task.name}' prepares data for new models only: what it made "
            "does not fit this one"
        )
    return prepared


def _processor(base: Model) -> dict[str, str]:
    """Return the content of the model's tokenizer or preprocessor files by name."""
    names = [name for name in PROCESSOR_FILES if name in base.manifest.files]
    if base.folder is None or not names:
        raise InputError(
            "finetune: this model has neither tokenizer nor image preprocessor, which new data "
            "are read with; begin from a model folder"
        )
    paths = {name: file_path(base.folder, base.manifest, name) for name in names}
    try:
        return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    except (OSError, ValueError) as error:
        raise InputError(f"{base.folder}: its tokenizer cannot be read ({error})") from error


def _job(
    base: Model,
    config: TuningConfig,
    prepared: PreparedData,
    budget: _Budget,
    seed: int,
    device: str,
) -> Job:
    if type(seed) is not int or not 0 <= seed < 1 << 31:
        raise InputError(f"finetune: seed: got {seed!r}, expected an integer >= 0")
    tokens = budget.resolve(prepared, config.recipe)
    job = Job(
        study=base.manifest.study,
        candidate=Candidate(
            architecture=base.architecture,
            recipe=_recipe(base, config, tokens),
            seed=seed,
            data_fingerprint=prepared.info.fingerprint,
        ),
        task_spec=replace(prepared.spec, task=config.task.name, context=base.task_spec.context),
        data=str(prepared.folder),
        rungs=(tokens,),
        rung=0,
        numerics=Numerics(
            device=device,
            precision=config.recipe.precision,
            attention="sdpa",
            threads=torch.get_num_threads(),
        ),
        eval_tokens=EVAL_TOKENS,
        test_tokens=EVAL_TOKENS,
        splits=("val", "test") if prepared.has("test") else ("val",),
    )
    return replace(job, numerics=_numerics(job))


def _recipe(base: Model, config: TuningConfig, tokens: int) -> Recipe:
    recipe = config.recipe
    rate = GENTLE * auto_rate(base.task_spec.head, context=recipe.context, batch=recipe.batch)
    resolved = recipe.resolve(rate, tokens)
    if recipe.warmup_tokens is None:
        resolved = replace(resolved, warmup_tokens=tokens // WARMUP)
    return resolved


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


def _freeze(network: nn.Module, base: Model) -> None:
    """Let only the head learn: what stands behind the part of the network that has the blocks.

    Raises:
        InputError: If nothing stands there: the embedding is the head.
    """
    blocks = {id(weight) for weight in network.hidden_matrices()}  # type: ignore[operator]  # every family's module has it
    parts = [list(part.parameters()) for part in network.children()]
    trunk = max(i for i, part in enumerate(parts) if any(id(w) in blocks for w in part))
    inside = {id(weight) for part in parts[: trunk + 1] for weight in part}
    head = [w for part in parts[trunk + 1 :] for w in part if id(w) not in inside]
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
            training = Training(job, network)
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
