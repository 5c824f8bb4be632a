"""`nas profile`: what a shape, a candidate or a stored model costs and how long its passes take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli import options, terminal
from nas.cli.choosing import find_study
from nas.cli.models import DeviceOption
from nas.cli.tables import Format, FormatOption, show_json, show_pairs, show_rows, show_table
from nas.cli.trust import TrustOption, check_study
from nas.cli.wording import count, several, shape_words, size
from nas.errors import InputError, ShapeError

if TYPE_CHECKING:
    from torch import nn

    from nas.records import Architecture, LatencySpec, TaskSpec

BATCH = 12  # of a training step, where nothing says another
BYTES_PER_WEIGHT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is profiled.

    Attributes:
        network: None: one with fresh weights, since latency does not depend on them.
        batch: Of its training.
        how: What it is, in words.
    """

    architecture: Architecture
    spec: TaskSpec
    network: nn.Module | None
    batch: int
    how: str


def profile(
    what: options.ProfiledArgument = None,
    candidate: options.ProfiledCandidateOption = None,
    space: options.ProfiledSpaceOption = None,
    settings: options.FieldsOption = None,
    phase: options.PhaseOption = None,
    batch: options.BatchOption = None,
    context: options.ContextOption = None,
    vocab_size: options.VocabularyOption = 257,
    device: DeviceOption = "cpu",
    threads: options.ThreadsOption = 1,
    repeats: options.RepeatsOption = None,
    trust: TrustOption = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what a model costs and how long its passes take.

    It may be a shape, a candidate or a stored model.

    prefill is a forward pass; decode writes the token that fills the context, keys and values of
    those before it cached; throughput is prefill of a large batch.
    """
    from nas.device import resolve_device
    from nas.measure import phases_of

    if settings and space is None:
        raise InputError("--set: changes a shape of a space; give --space too")
    device = resolve_device(device)
    subject = (
        _stored(what, candidate, trust=trust)
        if space is None
        else _shape(what or candidate, space, settings or (), context, vocab_size, trust=trust)
    )
    phases = phase or phases_of(subject.spec.head)
    asked = [_spec(one, subject.spec, batch, context, device, threads) for one in phases]
    _check(asked, subject.spec)
    costs, rows = _costs(subject), _measured(subject, asked, repeats)
    _show(subject, costs, rows, form)


def _shape(
    other: str | None,
    name: str,
    settings: Sequence[str],
    context: int | None,
    vocab_size: int,
    *,
    trust: bool,
) -> Subject:
    from nas.cli.spaces import task_spec_for
    from nas.config import parse_set
    from nas.families import architecture
    from nas.space import load_space

    if other is not None:
        raise InputError(f"got both '{other}' and --space {name}; give one of them")
    space = load_space(name, trust=trust)
    reference = {} if space.reference is None else dict(space.reference.shape)
    fields = {**space.fixed, **reference, **dict(parse_set(text) for text in settings)}
    found = architecture(space.family, **fields)
    try:
        space.encode(found)
        where = f"a shape of {name}"
    except ShapeError as error:
        where = f"a shape outside {name} ({error})"
    spec = task_spec_for(space.family, vocab_size=vocab_size, context=context or 64)
    return Subject(architecture=found, spec=spec, network=None, batch=BATCH, how=where)


def _stored(what: str | None, candidate: str | None, *, trust: bool) -> Subject:
    from nas.artifact import holds_model
    from nas.cli.show import find_candidate
    from nas.model import load_folder

    if what is not None and holds_model(Path(what)):
        if candidate is not None:
            raise InputError(f"--candidate: is for a study, and {what} is a model folder")
        model = load_folder(what, device="cpu", trust=trust)
        recipe = model.manifest.recipe
        return Subject(
            architecture=model.architecture,
            spec=model.task_spec,
            network=model.network,
            batch=BATCH if recipe is None else recipe.batch,
            how=f"model folder {what}",
        )
    study, how = find_study(what)
    check_study(study, trust=trust)
    row = study.best() if candidate is None else find_candidate(study, candidate)
    return Subject(
        architecture=row.architecture,
        spec=study.record.task_spec,
        network=None,
        batch=row.recipe.batch,
        how=f"{how}, #{row.number} {row.candidate_id}",
    )


def _spec(
    phase: str, spec: TaskSpec, batch: int | None, context: int | None, device: str, threads: int
) -> LatencySpec:
    from nas.measure import DEFAULT_BATCH
    from nas.records import LatencySpec

    return LatencySpec(
        phase=phase,
        batch=batch or DEFAULT_BATCH.get(phase, 1),
        context=context or spec.context,
        device=device,
        threads=threads,
    )


def _check(asked: Sequence[LatencySpec], spec: TaskSpec) -> None:
    """Refuse, before anything is timed, what the model has not."""
    from nas.measure import check_spec

    for how in asked:
        try:
            check_spec(how, spec)
        except InputError as error:
            raise InputError(f"--{error}") from None


def _costs(subject: Subject) -> dict[str, Any]:
    """Return the closed-form columns, as whole numbers."""
    from nas.families import cost_of

    context = subject.spec.context
    columns = cost_of(subject.architecture, subject.spec, context=context, batch=subject.batch)
    costs = {name: round(value) for name, value in columns.items()}
    return {**costs, "weight_bytes": costs["params"] * BYTES_PER_WEIGHT}


def _measured(
    subject: Subject, asked: Sequence[LatencySpec], repeats: int | None
) -> list[dict[str, Any]]:
    from nas.measure import measure_latency
    from nas.model import build

    network = subject.network
    if network is None:
        network = build(subject.architecture, subject.spec).network
    rows = []
    for how in asked:
        found = measure_latency(network, subject.spec, how, repeats=repeats)
        quartiles = {"low_ms": found.low_ms, "high_ms": found.high_ms}
        rows.append(
            {**dataclasses.asdict(how), **found.metrics, **quartiles, "repeats": found.repeats}
        )
    return rows


def _show(
    subject: Subject, costs: dict[str, Any], rows: Sequence[dict[str, Any]], form: Format
) -> None:
    from nas.records import WRITING_HEADS, to_plain

    family = subject.architecture.family
    if form is Format.JSON:
        shape = to_plain(subject.architecture.shape)
        show_json({"family": family, "shape": shape, **costs, "latency": list(rows)})
        return
    if form is Format.CSV:
        show_rows([{"family": family, **costs, **row} for row in rows], form, [])
        return
    terminal.heading(f"{family} {shape_words(subject.architecture.shape)}")
    terminal.say(subject.how)
    show_pairs(
        {
            "parameters": f"{costs['params']:,}",
            "weights": f"{size(costs['weight_bytes'])} in fp32",
            "FLOPs a token": f"{count(costs['flops_per_token'])}, forward",
            "training memory": f"{size(costs['train_memory_bytes'])} at batch {subject.batch}",
            "timed on": f"{rows[0]['device']}, {several(rows[0]['threads'], 'thread')}",
        }
    )
    terminal.say()
    unit = "tokens" if subject.spec.head in WRITING_HEADS else "examples"
    cells = [{**row, f"{unit}/s": count(row["throughput"])} for row in rows]
    columns = ["phase", "batch", "context", "latency_ms", "latency_iqr_ms", f"{unit}/s"]
    show_table(cells, [*columns, "repeats"])
