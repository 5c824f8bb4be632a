"""`nas export`: a model in another format, compared with itself in the other runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import terminal
from nas.cli.choosing import shown_path
from nas.cli.models import CandidateOption, ModelArgument, find_model
from nas.cli.tables import show_pairs
from nas.cli.wording import measure, size

if TYPE_CHECKING:
    from nas.exporters import Exported


def export(
    study: ModelArgument = None,
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="A new folder; exports/FORMAT in the model folder if left out.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="hf, onnx, tensorflow or torch.")] = "",
    candidate: CandidateOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare an export that is there once more.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="torch: --check a file of known origin; it may run code."),
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="onnx: also with 8-bit weights, and what they cost.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="onnx: a study's data folder to measure --int8 on; the model's own if left out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a model in another format and compare the two.

    The export is opened in its own runtime. Logits must agree for the golden input and for other
    batches and lengths, and a model that writes must write the same tokens; otherwise nothing is
    put in place and the exit status is 1. What was found is kept in the model's nas.json.
    """
    from nas.errors import InputError
    from nas.exporters import EXPORTERS
    from nas.exporters import export as export_model

    if not to:
        raise InputError(f"export: name a format with --to: {', '.join(EXPORTERS)}")
    folder, how = find_model(study, candidate)
    terminal.say(how or f"model {study}")
    options: dict[str, Any] = {
        name: value for name, value in (("int8", int8), ("data", data)) if value
    }
    _show(export_model(folder, to, out, check=check, trust=trust, **options))


def _show(done: Exported) -> None:
    written = f", {done.greedy_tokens} greedy tokens the same" if done.greedy_tokens else ""
    pairs = {
        "export": f"{shown_path(done.path)} ({size(done.bytes)})",
        "parity": f"logits differ by {done.difference:.2g}, allowed is {done.bound:g}{written}",
    }
    if "int8_bytes" in done.figures:
        pairs |= _int8_words(done.figures)
    show_pairs(pairs)


def _int8_words(figures: Mapping[str, float]) -> dict[str, Any]:
    small, large = figures["int8_bytes"], figures["fp32_bytes"]
    fast, slow = figures["int8_ms"], figures["fp32_ms"]
    loss, before = figures["int8_val_loss"], figures["fp32_val_loss"]
    return {
        "int8 size": f"{size(small)}, {small / large:.2f} of fp32 ({size(large)})",
        "int8 speed": f"{fast:.3g} ms a pass, {slow / fast:.2f}x fp32 ({slow:.3g} ms)",
        "int8 val_loss": f"{measure(loss)}, {loss - before:+.4f} to fp32 ({measure(before)})",
    }
