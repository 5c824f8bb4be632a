"""From the plain content of a study file to a checked `StudyConfig`.

Whether data and devices are there is left to those who use them. Which strategies and executors
there are is for the caller to say, since they stand above this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nas.config.code import check_code
from nas.config.database import read_database
from nas.config.records import (
    AUTO,
    DEFAULT_SPLIT,
    DEFAULT_STOP,
    FORMAT_VERSION,
    SEARCH,
    UNITS,
    BudgetConfig,
    FinalistsConfig,
    LatencyConfig,
    RecipeConfig,
    StopConfig,
    StudyConfig,
    TaskConfig,
)
from nas.data.request import Option, OptionValue
from nas.data.splits import SPLITS, Split
from nas.device import check_device_name
from nas.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    DeviceError,
    InputError,
    NotFoundError,
    ShapeError,
)
from nas.families import shape_class
from nas.measure import DEFAULT_BATCH, why_not
from nas.plugins import is_cluster, is_own, resolve
from nas.records import PHASES, WRITING_HEADS, TaskSpec
from nas.space import SearchSpace, load_space, with_reference
from nas.tasks import SPECIAL_FIELDS, Task, task_class
from nas.yaml_strict import Reader

PRECISIONS = (AUTO, "fp32", "bf16")
# Objectives that are measured on a device: what `latency:` is for.
TIMED = ("latency_ms", "throughput")
LARGEST_SEED = 2**32 - 1  # numpy's
LEAST = {"flops": 1, "seconds": 1e-3}  # of a budget in other units than tokens

# Recipe fields that are plain numbers, with the least and the largest that make sense.
RECIPE_BOUNDS: Mapping[str, tuple[float, float]] = {
    "weight_decay": (0, 10),
    "beta1": (0, 0.9999),
    "beta2": (0, 0.9999),
    "clip": (1e-3, 1e3),
    "cooldown": (0, 1),
    "dropout": (0, 0.9),
    "token_dropout": (0, 0.9),
    "label_smoothing": (0, 0.9),
}
# What Windows takes for a device, with any ending: a study must be one that can be copied there.
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
CLASS_WEIGHTS = ("none", "balanced")
AUGMENTS = ("none", "flip", "shift", "shift_flip")


def check_study_name(name: str) -> str:
    """Return `name` if a study may be called so.

    Raises:
        InputError: If it is anything but letters, digits and `._-`, begins with a dot or dash, or
            is no name for a folder on Windows.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise InputError(
            f"study name {name!r}: expected at most 100 letters, digits or ._- and no dot or dash "
            "in front; choose one with --name"
        )
    if name.partition(".")[0].lower() in DEVICES or name.endswith("."):
        raise InputError(
            f"study name {name!r}: no folder can be called so on Windows; choose another one with "
            "--name"
        )
    return name


def config_from_plain(
    plain: Mapping[str, Any],
    *,
    where: str,
    name: str,
    strategies: Collection[str] | None = None,
    executors: Collection[str] | None = None,
    trust: bool = False,
) -> StudyConfig:
    """Check the content of a study file, as of YAML or of `StudyConfig.to_plain`.

    Args:
        plain: The content.
        where: Where it stands, for messages.
        name: What the study is called.
        strategies: The strategies there are; any name is taken if left out.
        executors: The executors there are; any name is taken if left out.
        trust: Whether code outside nas that it names may be imported and run.

    Raises:
        ConfigError: If anything in it is wrong; the message starts with `where: key.path:`.
        InputError: If a study cannot be called `name`.
        UntrustedError: If it names code that nobody has vouched for.
    """
    check_code(plain, where, trust=trust)
    reader = Reader(plain, where=where)
    reader.integer("format_version", minimum=1, maximum=FORMAT_VERSION)
    space = _read_space(reader, trust=trust)
    task, kind = read_task(reader.mapping("task"))
    recipe = read_recipe(reader.mapping("recipe", optional=True), task.name, kind)
    objectives = _read_objectives(reader, space, kind)
    config = StudyConfig(
        name=check_study_name(name),
        space=space,
        task=task,
        split=read_split(reader),
        recipe=recipe,
        objectives=objectives,
        budget=_read_budget(reader.mapping("per_candidate", optional=True), recipe),
        finalists=_read_finalists(reader.mapping("finalists", optional=True)),
        stop=_read_stop(reader),
        latency=_read_latency(reader, recipe.context, kind.head, objectives),
        strategy=_read_strategy(reader, strategies),
        executor=_read_executor(reader, executors),
        workers=_optional_integer(reader, "workers"),
        device=_read_device(reader, AUTO),
        keep=reader.integer("keep", minimum=1, default=5),
        seed=reader.integer("seed", minimum=0, maximum=LARGEST_SEED, default=0),
        warm_start=_read_warm_start(reader),
        database=read_database(reader),
    )
    reader.done()
    return config


def _read_executor(reader: Reader, executors: Collection[str] | None) -> str:
    name = reader.value("executor", default="processes")
    if not isinstance(name, str) or not is_cluster(name):
        return reader.text("executor", choices=executors, default="processes")
    if not re.fullmatch(r"ray://[A-Za-z0-9.\-_\[\]:]+:\d{1,5}", name):
        reader.fail("executor", f"got {name!r}, expected ray://HOST:PORT, such as ray://head:10001")
    return name


def _read_space(reader: Reader, *, trust: bool) -> SearchSpace:
    space = _read_space_alone(reader, trust=trust)
    if reader.value("reference", default=None) is None:
        return space
    try:
        return with_reference(space, Path(reader.text("reference")))
    except (ArtifactError, ShapeError) as error:
        reader.fail("reference", str(error))


def _read_space_alone(reader: Reader, *, trust: bool) -> SearchSpace:
    given = reader.value("space", expected="a search space: a name, a file or a mapping")
    if isinstance(given, Mapping):
        return SearchSpace.from_plain(given, where=f"{reader.where}: space", name="inline")
    try:
        return load_space(reader.text("space"), trust=trust)
    except NotFoundError as error:
        reader.fail("space", str(error))


def read_task(reader: Reader) -> tuple[TaskConfig, type[Task]]:
    """Return the section `task`, checked, and the task's class."""
    name = reader.text("name")
    try:
        kind = task_class(name)
    except NotFoundError as error:
        reader.fail("name", str(error))
    options = {key: _read_option(reader, key, option) for key, option in kind.options.items()}
    task = TaskConfig(name=name, data=_read_data(reader), options=options)
    reader.done()
    return task, kind


def _read_data(reader: Reader) -> str | dict[str, str]:
    if not isinstance(reader.value("data", expected="a file, a folder or builtin:NAME"), Mapping):
        return reader.text("data")
    section = reader.mapping("data")
    found = {name: section.text(name) for name in SPLITS if name == "train" or section.has(name)}
    section.done()
    return found


def _read_option(reader: Reader, key: str, option: Option) -> OptionValue:
    if isinstance(option.default, bool):
        return reader.boolean(key) if reader.has(key) else option.default
    if isinstance(option.default, int):
        if not reader.has(key):
            return option.default
        if reader.value(key) == option.default:  # such as 0 where it means "as it is"
            return option.default
        return reader.integer(key, minimum=option.minimum, maximum=option.maximum)
    if option.choices:
        return reader.text(key, choices=option.choices, default=option.default)
    return str(reader.value(key, default="")) and reader.text(key)


def read_split(reader: Reader) -> Split:
    """Return the section `split`; the usual one if it is left out."""
    if not reader.has("split"):
        return DEFAULT_SPLIT
    section = reader.mapping("split")
    shares = {name: section.number(name) for name in SPLITS}
    section.done()
    try:
        return Split(**shares)
    except DataError as error:
        raise ConfigError(f"{reader.where}: {error}") from error


def read_recipe(reader: Reader, task: str, kind: type[Task]) -> RecipeConfig:
    """Return the section `recipe`, checked."""
    context = kind.context
    ours = RecipeConfig() if context is None else RecipeConfig(context=context)
    recipe = RecipeConfig(
        context=reader.integer(
            "context", minimum=context or 2, maximum=context, default=ours.context
        ),
        batch=reader.integer("batch", minimum=1, default=ours.batch),
        rate=_read_rate(reader),
        search_rate=reader.value("rate", default=AUTO) == SEARCH,
        precision=reader.text("precision", choices=PRECISIONS, default=ours.precision),
        warmup_tokens=_read_warmup(reader),
        class_weights=reader.text(
            "class_weights", choices=CLASS_WEIGHTS, default=ours.class_weights
        ),
        augment=reader.text("augment", choices=AUGMENTS, default=ours.augment),
        early_stop=_read_early_stop(reader),
        **{
            name: reader.number(name, minimum=low, maximum=high, default=getattr(ours, name))
            for name, (low, high) in RECIPE_BOUNDS.items()
        },
    )
    reader.done()
    for name in SPECIAL_FIELDS:
        given = getattr(recipe, name)
        if given != getattr(ours, name) and name not in kind.recipe_fields:
            reader.fail(name, f"got {given}, of which task '{task}' makes no use; leave it out")
    return recipe


def _read_rate(reader: Reader) -> float | None:
    given = reader.value("rate", default=AUTO)
    return None if given in (AUTO, SEARCH) else reader.number("rate", minimum=1e-8, maximum=10)


def _read_early_stop(reader: Reader) -> int:
    given = reader.value("early_stop", default=0)
    return reader.integer("early_stop", minimum=0) if reader.has("early_stop") and given else 0


def _read_warmup(reader: Reader) -> int | None:
    given = reader.value("warmup_tokens", default=AUTO)
    return None if given == AUTO else reader.integer("warmup_tokens", minimum=0)


def _read_objectives(reader: Reader, space: SearchSpace, task: type[Task]) -> tuple[str, ...]:
    if not reader.has("objectives"):
        return ("val_loss",)
    known = [*(f"val_{name}" for name in task.metrics), *TIMED, *_cost_columns(space)]
    section = reader.sequence("objectives")
    names = tuple(section.text(key, choices=known) for key in section)
    if not names:
        reader.fail("objectives", f"got an empty list, expected some of {', '.join(known)}")
    for key, name in enumerate(names):
        if name in names[:key]:
            section.fail(key, f"'{name}' given twice")
    return names


def _cost_columns(space: SearchSpace) -> list[str]:
    """Return the names of the family's closed-form columns, from the cost of any one shape."""
    depth = space.layout.depths[0]
    shape = space.layout.fields(depth, [0] * len(space.layout.slots(depth)))
    spec = TaskSpec(task="", head="", vocab_size=1, context=1)
    return list(shape_class(space.family).cost(shape, spec, context=1, batch=1))


def _read_budget(reader: Reader, recipe: RecipeConfig) -> BudgetConfig:
    unit, amount = _read_amount(reader, recipe)
    budget = BudgetConfig(
        amount=amount,
        unit=unit,
        rungs=_read_rungs(reader, unit, amount),
        eta=reader.number("eta", minimum=1, default=BudgetConfig().eta),
        max_minutes=_optional_number(reader, "max_minutes"),
    )
    reader.done()
    if unit == "tokens":
        _check_steps(reader, budget, recipe)
    return budget


def _read_amount(reader: Reader, recipe: RecipeConfig) -> tuple[str, float]:
    """Return the budget's unit and how much of it."""
    given = [name for name in (UNITS[0], "examples", *UNITS[1:]) if reader.has(name)]
    if len(given) > 1:
        reader.fail(given[1], f"not together with {given[0]}; a budget is in one of them")
    unit = given[0] if given else "tokens"
    if unit == "examples":  # an example is up to a context of tokens
        return "tokens", reader.integer("examples", minimum=1) * recipe.context
    if unit == "tokens":
        return unit, reader.integer("tokens", minimum=1, default=int(BudgetConfig().amount))
    return unit, reader.number(unit, minimum=LEAST[unit])


def _read_rungs(reader: Reader, unit: str, amount: float) -> tuple[float, ...] | None:
    given = reader.value("rungs", default=AUTO)
    if given == AUTO:
        return None
    if not isinstance(given, (list, tuple)):
        reader.wrong("rungs", given, f"auto or a list of {unit}")
    section = reader.sequence("rungs")
    rungs: tuple[float, ...] = tuple(
        section.integer(key, minimum=1)
        if unit == "tokens"
        else section.number(key, minimum=LEAST[unit])
        for key in section
    )
    if sorted(set(rungs)) != list(rungs) or rungs[-1:] != (amount,):
        reader.fail("rungs", f"got {list(rungs)}, expected ascending {unit} that end at {amount}")
    return rungs


def _check_steps(reader: Reader, budget: BudgetConfig, recipe: RecipeConfig) -> None:
    step = recipe.tokens_per_step
    if budget.amount < step:
        reader.fail(
            "tokens",
            f"got {budget.amount}, less than one step (context {recipe.context} x batch "
            f"{recipe.batch} = {step} tokens); raise it or lower recipe.batch",
        )
    if budget.rungs is not None and len(budget.resolve(step)) < len(budget.rungs):
        reader.fail("rungs", f"got rungs less than one step of {step} tokens apart; leave some out")


def _read_strategy(reader: Reader, known: Collection[str] | None) -> str:
    name = reader.text("strategy", default=AUTO)
    if known is None:
        return name
    if is_own(name):
        try:
            resolve({}, name, what="strategy")
        except NotFoundError as error:
            reader.fail("strategy", str(error))
        return name
    return reader.text("strategy", choices=known, default=AUTO)


def _read_finalists(reader: Reader) -> FinalistsConfig:
    ours = FinalistsConfig()
    finalists = FinalistsConfig(
        top=reader.integer("top", minimum=0, default=ours.top),
        seeds=reader.integer("seeds", minimum=1, default=ours.seeds),
    )
    reader.done()
    return finalists


def _read_stop(reader: Reader) -> StopConfig:
    if not reader.has("stop"):
        return DEFAULT_STOP
    section = reader.mapping("stop")
    stop = StopConfig(
        candidates=_optional_integer(section, "candidates"),
        minutes=_optional_number(section, "minutes"),
    )
    section.done()
    return stop


def _read_latency(
    reader: Reader, context: int, head: str, objectives: Collection[str]
) -> LatencyConfig | None:
    if reader.value("latency", default=None) is None and not set(TIMED) & set(objectives):
        return None
    given = reader.value("latency", default=None) is not None
    section = reader.mapping("latency") if given else Reader({}, where=reader.where, path="latency")
    usual = "decode" if head in WRITING_HEADS else "prefill"
    if "throughput" in objectives and "latency_ms" not in objectives:
        usual = "throughput"
    phase = section.text("phase", choices=PHASES, default=usual)
    if problem := why_not(phase, head):
        section.fail("phase", problem)
    ours = LatencyConfig()
    latency = LatencyConfig(
        phase=phase,
        batch=section.integer("batch", minimum=1, default=DEFAULT_BATCH[phase]),
        context=section.integer("context", minimum=1, maximum=context, default=context),
        device=_read_device(section, ours.device),
        threads=section.integer("threads", minimum=1, default=ours.threads),
        max_ms=_optional_number(section, "max_ms"),
    )
    if latency.device == AUTO:
        section.fail("device", "got 'auto'; name the device, so that figures can be compared")
    section.done()
    return latency


def _read_device(reader: Reader, default: str) -> str:
    try:
        return check_device_name(reader.text("device", default=default))
    except DeviceError as error:
        reader.fail("device", str(error))


def _read_warm_start(reader: Reader) -> str | None:
    if reader.value("warm_start", default=None) is None:
        return None
    given = reader.text("warm_start")
    if "://" in given:
        reader.fail("warm_start", "got a database URL; name the study or its folder")
    return given


def _optional_integer(reader: Reader, key: str) -> int | None:
    given = reader.value(key, default=None)
    return None if given is None else reader.integer(key, minimum=1)


def _optional_number(reader: Reader, key: str) -> float | None:
    given = reader.value(key, default=None)
    return None if given is None else reader.number(key, minimum=1e-3)
