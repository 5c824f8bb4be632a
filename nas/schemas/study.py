"""The JSON Schema of a study file."""

from __future__ import annotations

from nas.config.budget import EXAMPLES, LEAST, LEAST_MINUTES
from nas.config.latency import LEAST_MS, TIMED
from nas.config.parse import CLUSTER, LARGEST_SEED
from nas.config.records import (
    AUTO,
    DEFAULT_SPLIT,
    FORMAT_VERSION,
    BudgetConfig,
    FinalistsConfig,
    LatencyConfig,
)
from nas.data.request import Option
from nas.data.splits import SPLITS
from nas.device import DEVICE_NAME
from nas.executors import EXECUTORS
from nas.families import FAMILIES, shape_class
from nas.loggers import LOGGERS
from nas.records import PHASES
from nas.schemas.parts import (
    DRAFT,
    OWN,
    Plain,
    any_of,
    integer,
    mapping,
    not_together,
    number,
    one_of,
    or_null,
    text_value,
    when,
)
from nas.schemas.recipe import recipe_of_task, recipe_section
from nas.schemas.space import cost_columns, space_body, space_definitions
from nas.strategies import STRATEGIES
from nas.tasks import TASKS, task_class


def study_schema() -> Plain:
    """Return the schema of a study file."""
    return {
        "$schema": DRAFT,
        "title": "nas: study",
        **mapping(
            _sections(),
            text="what is learned from what, how long, and when to stop",
            required=("format_version", "space", "task"),
        ),
        "allOf": [_of_task(name) for name in TASKS],
        "definitions": {**space_definitions(), "space": space_body()},
    }


def _sections() -> dict[str, Plain]:
    return {
        "format_version": integer(1, FORMAT_VERSION, text="version of this format"),
        "space": any_of(
            text_value(text="a shipped name (nas spaces), ./search_spaces/NAME.yaml or a path"),
            {"$ref": "#/definitions/space"},
            text="the search space: its name, its file or itself",
        ),
        "reference": or_null(
            text_value(text="a model folder whose shape is the one to beat, instead of the space's")
        ),
        "task": _task(),
        "split": _split(),
        "recipe": recipe_section(),
        "objectives": _objectives(),
        "per_candidate": _budget(),
        "finalists": _finalists(),
        "stop": _stop(),
        "latency": or_null(_latency()),
        "strategy": any_of(
            {"enum": list(STRATEGIES)}, OWN, default=AUTO, text="what proposes the next shape"
        ),
        "executor": any_of(
            {"enum": list(EXECUTORS)},
            text_value(pattern=f"^{CLUSTER}$", text="a Ray cluster, ray://HOST:PORT"),
            default="processes",
            text="where candidates train: processes beside each other here, inline one at a time, "
            "or ray",
        ),
        "workers": or_null(
            integer(1, text="candidates trained at once; as many as fit if left out")
        ),
        "device": text_value(
            pattern=f"^({DEVICE_NAME})$", default=AUTO, text="auto, cpu, cuda, cuda:N or mps"
        ),
        "keep": integer(1, default=5, text="models kept with their weights"),
        "seed": integer(0, LARGEST_SEED, default=0, text="decides every draw"),
        "warm_start": or_null(
            text_value(
                pattern=r"^(?!.*://).*\S",
                text="an earlier study, whose results this one begins with",
            )
        ),
        "logger": _logger(),
        "database": or_null(
            text_value(
                pattern=r"^postgres(ql)?(\+psycopg)?://",
                text="the server that a new study is kept on, postgresql://USER@HOST/DATABASE, "
                "without a password; by itself a file in its folder",
            )
        ),
    }


def _logger() -> Plain:
    one: Plain = {"anyOf": [{"enum": list(LOGGERS)}, OWN]}
    several: Plain = {"type": "array", "items": one, "uniqueItems": True}
    return any_of(
        *one["anyOf"],
        several,
        {"type": "null"},
        text="what else is told of the search: one of them or a list",
    )


def _task() -> Plain:
    source = text_value(text="a file, a folder or builtin:NAME; relative to this file")
    splits = mapping(dict.fromkeys(SPLITS, source), text="a source a split", required=["train"])
    return {
        "type": "object",
        "description": "what is learned, from which data",
        "properties": {
            "name": any_of({"enum": list(TASKS)}, OWN, text="see: nas tasks"),
            "data": any_of(source, splits, text="one source, which is cut, or one a split"),
        },
        "required": ["name", "data"],
        "allOf": [when("name", name, _task_options(name)) for name in TASKS],
    }


def _task_options(name: str) -> Plain:
    options = task_class(name).options
    known = {key: _option(option) for key, option in options.items()}
    return {
        "properties": {"name": {}, "data": {}, **known},
        "additionalProperties": False,
    }


def _option(option: Option) -> Plain:
    if isinstance(option.default, bool):
        return {"type": "boolean", "default": option.default, "description": option.help}
    if isinstance(option.default, int):
        one = integer(option.minimum, option.maximum, default=option.default, text=option.help)
        if option.minimum <= option.default <= option.maximum:
            return one
        return any_of({"const": option.default}, one, text=option.help)
    if option.choices:
        return one_of(option.choices, default=option.default, text=option.help)
    # An empty text is the default, whatever it means to the task.
    return text_value(default=option.default, pattern=r"^$|\S", text=option.help)


def _split() -> Plain:
    shares = {
        name: number(0, 1, default=getattr(DEFAULT_SPLIT, name), text=text)
        for name, text in (
            ("train", "what is learned from"),
            ("val", "what candidates are ranked on"),
            ("test", "kept for the finals; 0 keeps none"),
        )
    }
    for name in ("train", "val"):
        del shares[name]["minimum"]
        shares[name]["exclusiveMinimum"] = 0
    return mapping(shares, text="shares of the data; they add up to 1", required=SPLITS)


def _objectives() -> Plain:
    known = [name for task in TASKS for name in _objectives_of(task)]
    return {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "default": ["val_loss"],
        "examples": [[name] for name in dict.fromkeys(known)],
        "items": {"type": "string", "pattern": r"\S"},
        "description": "what is searched for, each in its own direction; the first one ranks",
    }


def _objectives_of(task: str) -> list[str]:
    columns = [name for family in FAMILIES for name in cost_columns(shape_class(family))]
    return [
        *(f"val_{name}" for name in task_class(task).metrics),
        *TIMED,
        *dict.fromkeys(columns),
    ]


def _of_task(name: str) -> Plain:
    """Return what also holds in a study of one of our tasks."""
    is_task = {"required": ["name"], "properties": {"name": {"const": name}}}
    return {
        "if": {"required": ["task"], "properties": {"task": is_task}},
        "then": {
            "properties": {
                "objectives": {"items": {"enum": _objectives_of(name)}},
                "recipe": recipe_of_task(name),
            }
        },
    }


def _budget() -> Plain:
    usual = BudgetConfig()
    amounts = {
        "tokens": integer(1, default=int(usual.amount), text="tokens that each is trained on"),
        EXAMPLES: integer(1, text="the same in examples, each up to a context of tokens"),
        "flops": number(LEAST["flops"], text="the same compute for every shape"),
        "seconds": number(LEAST["seconds"], text="the same time of training for every shape"),
    }
    rungs = {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "number"}}
    rungs["items"] = {"type": "number", "exclusiveMinimum": 0}
    return mapping(
        {
            **amounts,
            "rungs": any_of(
                {"const": AUTO},
                rungs,
                default=AUTO,
                text="where a candidate is measured and may pause: auto (a quarter and all of it), "
                "or ascending amounts that end at the budget",
            ),
            "eta": number(1, default=usual.eta, text="of so many one goes on; 1 pauses nobody"),
            "max_minutes": or_null(number(LEAST_MINUTES, text="the longest that a job may take")),
        },
        text="how long each candidate is trained: tokens, examples, flops or seconds",
        **not_together(amounts),
    )


def _finalists() -> Plain:
    usual = FinalistsConfig()
    return mapping(
        {
            "top": integer(0, default=usual.top, text="how many of the best; 0: no finals"),
            "seeds": integer(1, default=usual.seeds, text="trainings of each"),
        },
        text="the best, trained again from fresh seeds beside the reference",
    )


def _stop() -> Plain:
    return mapping(
        {
            "candidates": or_null(integer(1, text="after so many candidates")),
            "minutes": or_null(number(LEAST_MINUTES, text="after so long, finals included")),
        },
        text="when the search ends, whichever comes first; after 40 candidates if left out",
    )


def _latency() -> Plain:
    usual = LatencyConfig()
    device = text_value(
        pattern=f"^(?!auto$)({DEVICE_NAME})$", default=usual.device, text="cpu, cuda, cuda:N, mps"
    )
    return mapping(
        {
            "phase": one_of(PHASES, text="what is timed; decode for models that write"),
            "batch": integer(1, text="examples a pass"),
            "context": integer(1, text="tokens; at most the recipe's"),
            "device": device,
            "threads": integer(1, default=usual.threads, text="CPU threads"),
            "max_ms": or_null(number(LEAST_MS, text="slower shapes are never proposed")),
        },
        text="what latency_ms is the time of, where it is asked for",
    )
