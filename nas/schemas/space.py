"""The JSON Schema of a search space file."""

from __future__ import annotations

from typing import Any

from nas.families import FAMILIES, Shape, shape_class
from nas.records import TaskSpec
from nas.schemas.parts import (
    DRAFT,
    OWN,
    Plain,
    any_of,
    integer,
    mapping,
    not_together,
    text_value,
    when,
)
from nas.space.parse import FORMAT_VERSION, LARGEST, MOST_VALUES, Fields

# What the fields of a shape mean; one of a family that is not named here goes without.
FIELD_HELP = {
    "n_layer": "layers (of an encoder-decoder: of its encoder)",
    "d_model": "width: numbers a token between the layers",
    "n_head": "query heads of attention",
    "n_kv_head": "key/value heads; must divide n_head",
    "head_dim": "numbers a head; d_model / n_head if left out",
    "d_ff": "width of the feed-forward part",
    "tied": "whether input and output share their embeddings",
    "window": "tokens that local attention looks at; even",
    "global_every": "every so many layers one attends to all tokens",
    "patch_size": "pixels a side of a patch",
    "n_layer_decoder": "layers of the decoder; those of the encoder if left out",
    "n_head_decoder": "query heads of the decoder",
    "d_ff_decoder": "width of the decoder's feed-forward part",
}


def space_schema() -> Plain:
    """Return the schema of a search space file."""
    return {
        "$schema": DRAFT,
        "title": "nas: search space",
        **space_body(),
        "definitions": space_definitions(),
    }


def space_body() -> Plain:
    """Return what a search space is; it refers to `space_definitions`."""
    section: Plain = {"type": "object"}
    found = mapping(
        {
            "format_version": integer(1, FORMAT_VERSION, text="version of this format"),
            "description": text_value(text="one line for `nas spaces`"),
            "family": any_of({"enum": list(FAMILIES)}, OWN, text="see: nas families"),
            "fixed": section | {"description": "fields that are the same in every shape"},
            "dimensions": section
            | {
                "description": "what may vary: each field with min, max and step, or with choices",
                "additionalProperties": {"type": "object"},
            },
            "draw_order": {
                "type": "array",
                "items": {"type": "string"},
                "uniqueItems": True,
                "description": "the dimensions in the order of the first draws; that of the file "
                "if left out",
            },
            "constraints": {
                "type": "object",
                "propertyNames": {"pattern": "^(max|min)_."},
                "additionalProperties": {"type": "number", "minimum": 0},
                "description": "max_X and min_X for what a shape costs",
            },
            "reference": section
            | {"description": "the shape to beat, tried first: every field but the fixed ones"},
        },
        text="what may vary in a shape, and what must hold",
        required=("format_version", "family", "dimensions"),
    )
    return found | {"allOf": [when("family", name, _of_family(name)) for name in FAMILIES]}


def space_definitions() -> dict[str, Plain]:
    """Return the definitions that `space_body` refers to."""
    kinds = [(shape_class(name), Fields.of(shape_class(name))) for name in FAMILIES]
    found: dict[str, Plain] = {}
    for kind, known in kinds:
        for name in known.names:
            found[_definition(kind, known, name)] = _dimension(known, name)
    return dict(sorted(found.items()))


def cost_columns(kind: type[Shape]) -> list[str]:
    """Return the names of what a family's shapes cost, from the cost of the smallest."""
    known = Fields.of(kind)
    smallest = {name: 1 for name in known.names if name not in known.defaults}
    spec = TaskSpec(task="", head="", vocab_size=1, context=1)
    return list(kind.cost({**known.defaults, **smallest}, spec, context=1, batch=1))


def _of_family(name: str) -> Plain:
    """Return what also holds in a space of one of our families."""
    kind = shape_class(name)
    known = Fields.of(kind)
    needed = [field for field in known.names if field not in known.defaults]
    return {
        "properties": {
            "fixed": _only({field: _value(known, field) for field in known.names}),
            "dimensions": _only({field: _reference(kind, known, field) for field in known.names}),
            "draw_order": {"items": {"enum": list(known.names)}},
            "constraints": {"propertyNames": {"enum": _constraints(kind)}},
            "reference": _only({field: _shape_value(known, field) for field in known.names}),
        },
        "allOf": [
            *(_given(field, "dimensions") for field in needed),
            {
                "if": {"required": ["reference"]},
                "then": {"allOf": [_given(field, "reference") for field in needed]},
            },
        ],
    }


def _only(properties: dict[str, Plain]) -> Plain:
    return {"properties": properties, "additionalProperties": False}


def _given(field: str, section: str) -> Plain:
    """Return that a field stands in a section or among the fixed ones."""
    return {
        "anyOf": [
            {"properties": {section: {"required": [field]}}},
            {"required": ["fixed"], "properties": {"fixed": {"required": [field]}}},
        ]
    }


def _constraints(kind: type[Shape]) -> list[str]:
    return [f"{side}_{column}" for side in ("max", "min") for column in cost_columns(kind)]


def _help(field: str) -> str:
    return FIELD_HELP.get(field, f"the family's field {field}")


def _value(known: Fields, field: str) -> Plain:
    if field in known.booleans:
        return {"type": "boolean", "description": _help(field)}
    return integer(1, known.limits.get(field, LARGEST), text=_help(field))


def _shape_value(known: Fields, field: str) -> Plain:
    one = _value(known, field)
    if field not in known.per_layer:
        return one
    plain = {name: value for name, value in one.items() if name != "description"}
    each = {"type": "array", "items": plain, "minItems": 1}
    return any_of(plain, each, text=f"{_help(field)}; one number, or one a layer")


def _reference(kind: type[Shape], known: Fields, field: str) -> Plain:
    """Return a field's dimension by its definition, with what the field means."""
    return {
        "allOf": [{"$ref": f"#/definitions/{_definition(kind, known, field)}"}],
        "description": _help(field),
    }


def _definition(kind: type[Shape], known: Fields, field: str) -> str:
    """Return the name of a definition: fields alike share one."""
    if field in known.booleans:
        return "dimension_of_booleans"
    layered = "_by_layer" if field in kind.per_layer else ""
    return f"dimension_to_{known.limits.get(field, LARGEST)}{layered}"


def _dimension(known: Fields, field: str) -> Plain:
    is_boolean = field in known.booleans
    value: Plain = {"type": "boolean"}
    if not is_boolean:
        value = {"type": "integer", "minimum": 1, "maximum": known.limits.get(field, LARGEST)}
    choices: Plain = {
        "type": "array",
        "items": value,
        "minItems": 1,
        "maxItems": MOST_VALUES,
        "uniqueItems": True,
        "description": "the allowed values, ascending",
    }
    layers: list[Any] = [False, True, "free"] if field in known.per_layer else [False]
    properties: Plain = {
        "choices": choices,
        "per_layer": {
            "enum": layers,
            "default": False,
            "description": "false: one for all layers; true: first and last are chosen, a line "
            "between; free: each layer its own",
        },
    }
    if is_boolean:
        return mapping(properties, text="the allowed values", required=("choices",))
    properties |= {
        "min": {**value, "description": "the least value"},
        "max": {**value, "description": "the largest value"},
        "step": integer(1, default=1, text="distance of the values, from min on; must reach max"),
    }
    either = [{"required": ["choices"]}, {"required": ["min", "max"]}]
    return mapping(
        properties,
        text="min, max and step, or choices",
        anyOf=either,
        allOf=[not_together(("choices", key)) for key in ("min", "max", "step")],
    )
