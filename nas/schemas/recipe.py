"""The JSON Schema of a study file's section `recipe`."""

from __future__ import annotations

from nas.config.records import AUTO, SEARCH, RecipeConfig
from nas.config.training import (
    AUGMENTS,
    CLASS_WEIGHTS,
    LEAST_CONTEXT,
    PRECISIONS,
    RATES,
    RECIPE_BOUNDS,
)
from nas.schemas.parts import Plain, any_of, integer, mapping, number, one_of
from nas.tasks import SPECIAL_FIELDS, task_class

HELP = {
    "weight_decay": "of matrices, AdamW's",
    "beta1": "of AdamW",
    "beta2": "of AdamW",
    "clip": "largest norm of the gradient",
    "cooldown": "last share of the training over which the rate falls to 0",
    "dropout": "share of each residual update that training drops",
    "token_dropout": "share of an input's tokens or items that training hides",
    "label_smoothing": "share of each target that is spread over all classes",
}


def recipe_section() -> Plain:
    """Return the schema of the section, whatever the task."""
    usual = RecipeConfig()
    numbers = {
        name: number(low, high, default=getattr(usual, name), text=HELP[name])
        for name, (low, high) in RECIPE_BOUNDS.items()
    }
    return mapping(
        {
            "context": integer(1, default=usual.context, text="longest input in tokens"),
            "batch": integer(1, default=usual.batch, text="examples a step"),
            "rate": any_of(
                {"enum": [AUTO, SEARCH]},
                {"type": "number", "minimum": RATES[0], "maximum": RATES[1]},
                default=AUTO,
                text="base learning rate: auto by a rule of batch and width, search, or a number",
            ),
            "precision": one_of(PRECISIONS, default=usual.precision, text="auto takes the fastest"),
            "warmup_tokens": any_of(
                {"const": AUTO},
                {"type": "integer", "minimum": 0},
                default=AUTO,
                text="tokens over which the rate rises; auto: a fiftieth of the budget",
            ),
            "class_weights": one_of(
                CLASS_WEIGHTS, default=usual.class_weights, text="balanced: rare ones count more"
            ),
            "augment": one_of(AUGMENTS, default=usual.augment, text="of training images"),
            "early_stop": integer(
                0,
                default=usual.early_stop,
                text="validations, of twenty, without a better one after which a candidate ends; "
                "0: never",
            ),
            **numbers,
        },
        text="how candidates are trained",
    )


def recipe_of_task(name: str) -> Plain:
    """Return what also holds in studies of one of our tasks."""
    kind, usual = task_class(name), RecipeConfig()
    properties: dict[str, Plain] = {
        field: {"enum": [getattr(usual, field)]}
        for field in SPECIAL_FIELDS
        if field not in kind.recipe_fields
    }
    least = LEAST_CONTEXT if kind.context is None else kind.context
    properties["context"] = {"minimum": least}
    if kind.context is not None:
        properties["context"]["maximum"] = kind.context
    return {"properties": properties}
