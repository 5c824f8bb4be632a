"""What a fine-tuning is asked for, checked, and the job that comes of it.

The model has decided how inputs are read: by its tokenizer, its items, its image size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from nas.artifact.manifest import PREPROCESSOR, PROCESSOR_FILES, file_path
from nas.config import RecipeConfig, TuningConfig, tuning_from_plain
from nas.data import DataRequest, PreparedData, Trained
from nas.data.text_classification import MASK, SPECIAL
from nas.errors import InputError
from nas.model import Model
from nas.plugins import allow
from nas.records import Candidate, Job, Numerics, Recipe
from nas.tasks import Task, task_class
from nas.training.schedule import auto_rate

# Share of the rate from scratch. Measured at 1, .3 and .1, 3 epochs, one seed each, val loss on new
# data (before) and on the old. Llama, 2 layers of 64, from Python's documentation to the source of
# argparse: 1.00 1.02 1.09 (1.71), old 2.25 1.97 1.77 (1.49). BERT, 2 layers of 64, docstrings to
# docstrings in capitals: 1.63 1.69 1.76 (2.01), old 1.64 1.59 1.58 (1.58).
GENTLE = 0.3
BATCH = 16
# Passes over the data. Source: Devlin et al., "BERT", 2019, A.3: 2 to 4.
EPOCHS = 3
WARMUP = 10  # one part of so many of the training
EVAL_TOKENS = 1 << 20  # of a split that a measurement reads at most
HEADS = ("auto", "keep", "new")
DECIDED = ("tokenizer", "vocab_size", "image_size")  # options of tasks that are the model's
READING = ("long_inputs", "chunk_overlap")  # options of tasks that a model carries on
LARGEST_SEED = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long is trained; at most one of them is given."""

    epochs: float | None = None
    examples: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        amounts = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: amount for name, amount in amounts.items() if amount is not None}
        if len(given) > 1:
            raise InputError(f"finetune: got {' and '.join(given)}; a budget is in one of them")
        for name, amount in given.items():
            is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
            if not is_number or not 0 < amount < 1e15:
                raise InputError(f"finetune: {name}: got {amount!r}, expected a number above 0")

    def resolve(self, prepared: PreparedData, recipe: RecipeConfig) -> int:
        """Return the budget in tokens, whole steps, one at least."""
        wanted: float
        if self.tokens is not None:
            wanted = self.tokens
        elif self.examples is not None:
            wanted = self.examples * recipe.context
        else:
            wanted = (EPOCHS if self.epochs is None else self.epochs) * _pass_tokens(prepared)
        step = recipe.tokens_per_step
        return max(1, round(wanted / step)) * step


def _pass_tokens(prepared: PreparedData) -> int:
    """Return the tokens of a pass over train, as steps count them: an example is a context."""
    info = prepared.info
    is_running_text = bool(info.bytes)
    examples = 0 if is_running_text else info.examples["train"]
    return max(info.tokens["train"], examples * info.spec.context)


def check_head(head: str) -> None:
    """Do nothing if it is one of `HEADS`.

    Raises:
        InputError: If it is not.
    """
    if head not in HEADS:
        raise InputError(f"finetune: head: got {head!r}, expected {', '.join(HEADS)}")


def config_for(
    base: Model,
    *,
    data: str | Path | Mapping[str, str],
    task: Mapping[str, Any] | None,
    recipe: Mapping[str, Any] | None,
    split: Mapping[str, float] | None,
    rate: float | None,
) -> TuningConfig:
    """Return the checked settings (see `finetune`).

    Raises:
        InputError: If one is wrong, or the model has decided it.
    """
    spec, options = base.task_spec, dict(task or {})
    allow([options["name"]] if isinstance(options.get("name"), str) else [])  # the user's own word
    name = options.pop("name", spec.task)
    kind = task_class(name)
    _check_task(base, name, kind, options)
    carried = {key: getattr(spec, key) for key in READING if key in kind.options}
    source = str(data) if isinstance(data, Path) else data
    plain: dict[str, Any] = {
        "task": {"name": name, "data": source, **carried, **options},
        "recipe": {"context": spec.context, "batch": BATCH, **(recipe or {})},
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


def _check_task(base: Model, name: str, kind: type[Task], options: Mapping[str, Any]) -> None:
    spec = base.task_spec
    if kind.head != spec.head:
        raise InputError(
            f"finetune: a {base.architecture.family} model of {spec.task} has the head "
            f"{spec.head}, task '{name}' needs {kind.head}; tune it on its own task, or search "
            "with a family that has that head: nas families"
        )
    for decided in DECIDED:
        if decided in options:
            raise InputError(f"finetune: task.{decided}: the model's own stays; leave it out")


def prepare(base: Model, config: TuningConfig, head: str, folder: Path) -> PreparedData:
    """Return the data as the model reads them, in a folder.

    Raises:
        InputError: If they cannot be read, or the model or its task does not fit them.
    """
    if config.recipe.token_dropout and base.task_spec.head == "classify":
        _check_mask(base)
    request = DataRequest.of(
        config.task.data,
        split=config.split,
        context=config.recipe.context,
        options=config.task.options,
        trained=Trained(spec=base.task_spec, files=_processor(base), head=head),
    )
    prepared = task_class(config.task.name).prepare(request, folder)
    may_differ = ("labels", "context", "task", *READING)
    kept = {name: getattr(base.task_spec, name) for name in may_differ}
    if replace(prepared.spec, **kept) != base.task_spec:
        raise InputError(
            f"finetune: task '{config.task.name}' prepares data for new models only: what it made "
            "does not fit this one"
        )
    return prepared


def _check_mask(base: Model) -> None:
    """Raise where a hidden token, which becomes our `[MASK]`, would be another one."""
    if base.tokenizer is None or base.tokenizer.token_to_id(SPECIAL[MASK]) != MASK:
        raise InputError(
            f"finetune: recipe.token_dropout: this model's tokenizer has no {SPECIAL[MASK]} of id "
            f"{MASK}; leave it out"
        )


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
        texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    except (OSError, ValueError) as error:
        raise InputError(f"{base.folder}: its tokenizer cannot be read ({error})") from error
    return texts if base.preprocessor is None else {**texts, PREPROCESSOR: base.preprocessor}


def job_for(
    base: Model,
    config: TuningConfig,
    prepared: PreparedData,
    budget: Budget,
    *,
    seed: int,
    device: str,
) -> Job:
    """Return the job of a fine-tuning; precision `auto` is still open.

    Raises:
        InputError: If the seed is out of range.
    """
    if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"finetune: seed: got {seed!r}, expected an integer 0 to {LARGEST_SEED}")
    tokens = budget.resolve(prepared, config.recipe)
    return Job(
        study=base.manifest.study,
        candidate=Candidate(
            architecture=base.architecture,
            recipe=_recipe(base, config.recipe, tokens),
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


def _recipe(base: Model, recipe: RecipeConfig, tokens: int) -> Recipe:
    rate = GENTLE * auto_rate(base.task_spec.head, context=recipe.context, batch=recipe.batch)
    resolved = recipe.resolve(rate, tokens)
    if recipe.warmup_tokens is None:
        resolved = replace(resolved, warmup_tokens=tokens // WARMUP)
    return resolved
