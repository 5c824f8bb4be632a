"""From the plain content of a study file to a checked `StudyConfig`.

Whether data and devices are there is left to those who use them. Which strategies and executors
there are is for the caller to say, since they stand above this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nas.config.budget import LEAST_MINUTES, read_budget
from nas.config.code import check_code, logger_names
from nas.config.database import read_database
from nas.config.latency import TIMED, read_device, read_latency
from nas.config.records import (
    AUTO,
    DEFAULT_STOP,
    FORMAT_VERSION,
    FinalistsConfig,
    StopConfig,
    StudyConfig,
)
from nas.config.task import read_task
from nas.config.training import read_recipe, read_split
from nas.errors import ArtifactError, InputError, NotFoundError, ShapeError
from nas.families import shape_class
from nas.loggers import LOGGERS
from nas.plugins import is_cluster, is_own, resolve
from nas.records import TaskSpec
from nas.space import SearchSpace, load_space, with_reference
from nas.tasks import Task
from nas.yaml_strict import Reader

LARGEST_SEED = 2**32 - 1  # numpy's
CLUSTER = r"ray://[A-Za-z0-9.\-_\[\]:]+:\d{1,5}"  # an executor that is a cluster
# What Windows takes for a device, with any ending: a study must be one that can be copied there.
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)


def check_study_name(name: str) -> str:
    """Return `name` if a study may be called so.

    Raises:
        InputError: If it is anything but letters, digits and `._-`, begins with a dot or dash, or
            is no name for a folder on Windows.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise InputError(
            f"study name {name!r}: expected at most 100 letters, digits or ._- and no dot or dash "
            "in front; choose one with --name, or call the study file so"
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
        budget=read_budget(reader.mapping("per_candidate", optional=True), recipe),
        finalists=_read_finalists(reader.mapping("finalists", optional=True)),
        stop=_read_stop(reader),
        latency=read_latency(reader, recipe.context, kind.head, objectives),
        strategy=_read_strategy(reader, strategies),
        executor=_read_executor(reader, executors),
        workers=reader.optional_integer("workers", minimum=1),
        device=read_device(reader, AUTO),
        keep=reader.integer("keep", minimum=1, default=5),
        seed=reader.integer("seed", minimum=0, maximum=LARGEST_SEED, default=0),
        warm_start=_read_warm_start(reader),
        loggers=_read_loggers(reader),
        database=read_database(reader),
    )
    reader.done()
    return config


def _read_executor(reader: Reader, executors: Collection[str] | None) -> str:
    name = reader.value("executor", default="processes")
    if not isinstance(name, str) or not is_cluster(name):
        return reader.text("executor", choices=executors, default="processes")
    if not re.fullmatch(CLUSTER, name):
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


def _read_loggers(reader: Reader) -> tuple[str, ...]:
    given = reader.value("logger", default=None)
    names = logger_names({"logger": given})
    for place, name in enumerate(names):
        if not isinstance(name, str):
            reader.wrong("logger", name, f"{', '.join(LOGGERS)}, or a list of them")
        if name in names[:place]:
            reader.fail("logger", f"'{name}' given twice")
        try:
            if is_own(name) or name not in LOGGERS:
                resolve(LOGGERS, name, what="logger")
        except NotFoundError as error:
            reader.fail("logger", str(error))
    return tuple(names)


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
        candidates=section.optional_integer("candidates", minimum=1),
        minutes=section.optional_number("minutes", minimum=LEAST_MINUTES),
    )
    section.done()
    return stop


def _read_warm_start(reader: Reader) -> str | None:
    if reader.value("warm_start", default=None) is None:
        return None
    given = reader.text("warm_start")
    if "://" in given:
        reader.fail("warm_start", "got a database URL; name the study or its folder")
    return given
