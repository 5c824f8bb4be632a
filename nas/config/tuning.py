"""What a model is tuned by: the sections of a study file that say how candidates are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.config.records import RecipeConfig, TaskConfig
from nas.config.task import read_task
from nas.config.training import read_recipe, read_split
from nas.data import Split
from nas.yaml_strict import Reader


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningConfig:
    """Task with its data and options, split and recipe."""

    task: TaskConfig
    split: Split
    recipe: RecipeConfig


def tuning_from_plain(plain: Mapping[str, Any], *, where: str) -> TuningConfig:
    """Check sections `task`, `split` and `recipe`, as of a study file.

    Raises:
        ConfigError: If anything in them is wrong; the message starts with `where: key.path:`.
    """
    reader = Reader(plain, where=where)
    task, kind = read_task(reader.mapping("task"))
    recipe = read_recipe(reader.mapping("recipe", optional=True), task.name, kind)
    split = read_split(reader)
    if recipe.search_rate:
        reader.fail("recipe", "rate: got 'search', expected a number or auto")
    reader.done()
    return TuningConfig(task=task, split=split, recipe=recipe)
