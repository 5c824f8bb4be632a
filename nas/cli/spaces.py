"""`nas spaces`, `nas families`, `nas tasks`: what there is to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.tables import Format, FormatOption, show_json, show_pairs, show_rows, show_table
from nas.cli.trust import TrustOption
from nas.cli.wording import count, shape_words

if TYPE_CHECKING:
    from nas.records import TaskSpec
    from nas.space import BoundSpace, SearchSpace

# What sizes of a space over images are told for.
IMAGES: dict[str, Any] = {
    "image_size": 28,
    "n_channel": 1,
    "labels": tuple(str(number) for number in range(10)),
}


def spaces(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE",
            help="A file, or the name of one in ./search_spaces or of a shipped one; all if left "
            "out.",
            show_default=False,
        ),
    ] = None,
    vocab_size: Annotated[int, typer.Option(min=1, help="Tokens of the vocabulary.")] = 257,
    context: Annotated[int, typer.Option(min=1, help="Tokens an example.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 12,
    trust: TrustOption = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the search spaces, or check one and say what is in it.

    Sizes and constraints depend on vocabulary, context and batch; without options these are those
    of bytes and the quickstart.
    """
    from nas.space import load_space

    names = [space] if space is not None else _known()
    bound = [_bind(load_space(name, trust=trust), vocab_size, context, batch) for name in names]
    if space is None:
        rows = [_described(one) for one in bound]
        if form is Format.TABLE:
            rows = [_listed(row) for row in rows]
        columns = ["name", "shapes", "feasible", "params", "description", "family"]
        show_rows(rows, form, columns)
    else:
        _show_one(bound[0], form)


def families(form: FormatOption = Format.TABLE) -> None:
    """List the families of architectures."""
    from nas.families import FAMILIES, shape_class
    from nas.families.constants import searched_names

    kinds = {name: shape_class(name) for name in FAMILIES}
    rows = [
        {
            "family": name,
            "heads": sorted(kind.heads),
            "fields": searched_names(kind),
            "per_layer": sorted(kind.per_layer),
            "description": kind.description,
        }
        for name, kind in kinds.items()
    ]
    show_rows(rows, form, ["family", "heads", "description", "per_layer", "fields"])


def tasks(form: FormatOption = Format.TABLE) -> None:
    """List the tasks that a model can be trained for."""
    from nas.tasks import TASKS, task_class

    kinds = {name: task_class(name) for name in TASKS}
    rows = [
        {
            "task": name,
            "head": kind.head,
            "description": kind.description,
            "metrics": list(kind.metrics),
        }
        for name, kind in kinds.items()
    ]
    show_rows(rows, form, ["task", "head", "description", "metrics"])


def _known() -> list[str]:
    from nas.space import shipped_spaces

    own = [path.stem for path in Path("search_spaces").glob("*.yaml")]
    return sorted({*shipped_spaces(), *own})


def _bind(space: SearchSpace, vocab_size: int, context: int, batch: int) -> BoundSpace:
    spec = task_spec_for(space.family, vocab_size=vocab_size, context=context)
    return space.bind(spec, context=spec.context, batch=batch)


def task_spec_for(family: str, *, vocab_size: int, context: int) -> TaskSpec:
    """Return the sizes of a usual task of a family."""
    from nas.families import shape_class
    from nas.records import TaskSpec

    heads = shape_class(family).heads
    if "classify_image" in heads:
        return TaskSpec(task="", head="classify_image", vocab_size=0, context=1, **IMAGES)
    return TaskSpec(
        task="",
        head=sorted(heads)[0],
        vocab_size=vocab_size,
        context=context,
        labels=("no", "yes") if "classify" in heads else (),
    )


def _described(bound: BoundSpace) -> dict[str, Any]:
    import numpy as np

    return bound.describe(np.random.default_rng(0))


def _listed(described: dict[str, Any]) -> dict[str, Any]:
    """Return what a table shows of a space."""
    about = "" if described["exact"] else "about "
    return {
        **described,
        "params": " to ".join(map(count, described["params"])),
        "feasible": f"{about}{described['feasible_share']:.0%}",
    }


def _show_one(bound: BoundSpace, form: Format) -> None:
    described, space = _described(bound), bound.space
    sizes = {"vocab_size": bound.spec.vocab_size, "context": bound.context, "batch": bound.batch}
    if form is Format.JSON:
        show_json({**described, **sizes, **space.to_plain()})
        return
    rows = [_dimension(dimension.name, dimension.to_plain()) for dimension in space.dimensions]
    if form is Format.CSV:
        show_rows(rows, form, [])
        return
    terminal.heading(f"{space.where}: fine")
    show_pairs(_pairs(bound, described))
    terminal.say()
    show_table(rows, ["dimension", "values", "number", "layers"], fit=False)


def _pairs(bound: BoundSpace, described: dict[str, Any]) -> dict[str, Any]:
    space = bound.space
    about = "" if described["exact"] else "about "
    some = "" if described["feasible"] is None else f" ({described['feasible']:,})"
    ranges = {
        name: " to ".join(map(count, described[name])) for name in ("params", "flops_per_token")
    }
    return {
        "description": space.description,
        "family": space.family,
        "sizes": _sizes(bound),
        "shapes": f"{described['shapes']:,}",
        "feasible": f"{about}{described['feasible_share']:.2%}{some}",
        "parameters": ranges["params"],
        "FLOPs a token": f"{ranges['flops_per_token']}, forward",
        "fixed": ", ".join(f"{name} {value}" for name, value in space.fixed.items()),
        "constraints": ", ".join(f"{c.name} {count(c.bound)}" for c in space.constraints),
        "reference": shape_words(space.reference.shape) if space.reference else "none",
    }


def _sizes(bound: BoundSpace) -> str:
    spec, batch = bound.spec, f"batch {bound.batch}"
    if spec.head == "classify_image":
        return f"images of {spec.image_size} x {spec.image_size}, {spec.n_class} classes, {batch}"
    text = f"vocabulary {spec.vocab_size}, context {bound.context}, {batch}"
    return f"{text} (--vocab-size, --context, --batch)"


def _dimension(name: str, plain: dict[str, Any]) -> dict[str, Any]:
    choices = plain.get("choices")
    if choices is None:
        choices = range(plain["min"], plain["max"] + 1, plain["step"])
        values = f"{plain['min']} to {plain['max']} in steps of {plain['step']}"
    else:
        values = ", ".join(str(choice) for choice in choices)
    layers = {None: "one for all", True: "first and last, a line between", "free": "each its own"}
    return {
        "dimension": name,
        "values": values,
        "number": len(choices),
        "layers": layers[plain.get("per_layer")],
    }
