"""The sections `recipe` and `split` of a study file: how candidates are trained, on which part."""

from __future__ import annotations

from collections.abc import Mapping

from nas.config.records import AUTO, DEFAULT_SPLIT, SEARCH, RecipeConfig
from nas.data.splits import SPLITS, Split
from nas.errors import ConfigError, DataError
from nas.tasks import SPECIAL_FIELDS, Task
from nas.yaml_strict import Reader

PRECISIONS = (AUTO, "fp32", "bf16")
CLASS_WEIGHTS = ("none", "balanced")
AUGMENTS = ("none", "flip", "shift", "shift_flip")
LEAST_CONTEXT = 2  # one token to read, one to predict
RATES = (1e-8, 10)  # the least and the largest

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
            "context", minimum=context or LEAST_CONTEXT, maximum=context, default=ours.context
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
        early_stop=reader.integer("early_stop", minimum=0, default=ours.early_stop),
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
    if given in (AUTO, SEARCH):
        return None
    return reader.number("rate", minimum=RATES[0], maximum=RATES[1])


def _read_warmup(reader: Reader) -> int | None:
    given = reader.value("warmup_tokens", default=AUTO)
    return None if given == AUTO else reader.integer("warmup_tokens", minimum=0)
