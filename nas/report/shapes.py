"""A shape as a person reads it: its fields, filled in, and its layers one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.errors import NotFoundError
from nas.families import shape_of
from nas.families.constants import searched_names
from nas.plugins import is_allowed
from nas.store.rows import CandidateRow
from nas.wording import shape_words

DECODER = "_decoder"  # ends the fields that a decoder has of its own
OF_LAYERS = ("n_head", "n_kv_head", "head_dim", "d_ff")
# Families whose layers have as many key/value heads as heads, and heads that share the width.
DEPTH, WIDTH = "n_layer", "d_model"


def fields_of(row: CandidateRow) -> dict[str, Any]:
    """Return the fields of a candidate's shape, those that the family fills in included.

    Of a family of the user's own that nobody vouched for, what is stored: no code is run to show a
    row.
    """
    if not is_allowed(row.family):
        return dict(row.shape)
    try:
        shape = shape_of(row.architecture)
    except NotFoundError:  # a family that is not installed here
        return dict(row.shape)
    even = shape.uniform()
    fields = {
        name: getattr(even if getattr(shape, name) is None else shape, name)
        for name in searched_names(type(shape))
    }
    return {name: _filled(name, value, fields) for name, value in fields.items()}


def _filled(name: str, value: Any, fields: Mapping[str, Any]) -> Any:
    """Return what a field means that is left open: as the encoder, or what divides the width."""
    if value is None and name.endswith(DECODER):
        return fields[name.removesuffix(DECODER)]
    if value is None and name == "head_dim":
        return fields[WIDTH] // fields["n_head"]
    return value


def shape_fact(row: CandidateRow) -> dict[str, Any]:
    """Return what is drawn of a candidate's shape (see `drawing.draw`)."""
    return {
        "family": row.family,
        "words": shape_words(row.shape),
        "params": row.params,
        "d_model": row.shape.get("d_model"),
        "stacks": stacks_of(row),
        "others": {name: _plain(value) for name, value in other_fields(row).items()},
    }


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def stacks_of(row: CandidateRow) -> list[dict[str, Any]]:
    """Return the stacks of layers of a candidate's network, in the order of the data's way.

    Each has a `name` (empty where there is but one) and `layers`: runs of equal layers with `first`
    and `last` (from 1), `n_head`, `n_kv_head`, `head_dim`, `d_ff` as far as the shape has them, and
    `note` for what else tells a layer. A shape without a number of layers has no stacks.
    """
    fields = fields_of(row)
    if f"{DEPTH}{DECODER}" in fields:
        own = {name.removesuffix(DECODER): v for name, v in fields.items() if DECODER in name}
        encoder = {name: value for name, value in fields.items() if DECODER not in name}
        return [_stack("encoder", encoder), _stack("decoder", encoder | own)]
    if type(fields.get(DEPTH)) is not int:
        return []
    return [_stack("", fields)]


def _stack(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    depth = int(fields[DEPTH])
    layers = [_layer(fields, at) for at in range(depth)]
    runs: list[dict[str, Any]] = []
    for at, layer in enumerate(layers, start=1):
        if runs and runs[-1]["layer"] == layer:
            runs[-1]["last"] = at
        else:
            runs.append({"first": at, "last": at, "layer": layer})
    return {
        "name": name,
        "layers": [{"first": r["first"], "last": r["last"], **r["layer"]} for r in runs],
    }


def _layer(fields: Mapping[str, Any], at: int) -> dict[str, Any]:
    found = {name: _of_layer(fields[name], at) for name in OF_LAYERS if name in fields}
    # A family of the user's own may mean something else by a name: only counts are drawn.
    layer: dict[str, Any] = {name: n for name, n in found.items() if type(n) is int and n > 0}
    n_head, width = layer.get("n_head"), fields.get(WIDTH)
    if n_head and type(width) is int:
        layer.setdefault("head_dim", width // n_head)
        layer.setdefault("n_kv_head", n_head)
    every, window = fields.get("global_every"), fields.get("window")
    if isinstance(every, int) and every > 0:  # ModernBERT's layers take turns
        layer["note"] = "all tokens" if at % every == 0 else f"window of {window}"
    return layer


def _of_layer(value: Any, at: int) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value[at] if at < len(value) else None
    return value


def other_fields(row: CandidateRow) -> dict[str, Any]:
    """Return the fields that no layer shows: the patch size, whether embeddings are tied..."""
    shown = {DEPTH, WIDTH, *OF_LAYERS} if stacks_of(row) else set()
    return {
        name: value
        for name, value in fields_of(row).items()
        if name.removesuffix(DECODER) not in shown and value is not None
    }
