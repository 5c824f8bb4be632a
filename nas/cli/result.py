"""The result of a finished study in words: who won, by how much, and how to use the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas.cli import terminal
from nas.cli.choosing import shown_path, study_name
from nas.cli.tables import show_pairs, show_table
from nas.wording import (
    amount_words,
    comparison_words,
    count,
    duration,
    front_words,
    measure,
    several,
    shape_words,
    usage,
)

if TYPE_CHECKING:
    from nas.store.ranking import FinalistGroup
    from nas.store.rows import CandidateRow
    from nas.study import Study

LEADERS = 5


def show_result(study: Study) -> None:
    """Write all that there is to say about a finished study."""
    summary = study.summary() or {}
    rows = study.trials(role="search")
    _show_counts(study, rows, summary)
    _show_leaders(study, [row for row in rows if row.state == "complete"][:LEADERS])
    _show_fidelity(summary)
    _show_finals(summary, {row.architecture_id: row for row in rows})
    _show_no_larger(study, summary, rows)
    _show_front(study, summary, rows)
    _show_latency(summary)
    if not study.config["split"]["test"]:
        terminal.prose("no test split was kept: all figures are on val, which the search has read")
    _show_places(study)
    _show_use(study)


def _show_counts(study: Study, rows: Sequence[CandidateRow], summary: Mapping[str, Any]) -> None:
    states = [row.state for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    terminal.say()
    terminal.heading(
        f"study {study.name}: {several(len(rows), 'candidate')} ({counts}) in "
        f"{duration(summary.get('elapsed_seconds', 0.0))}"
    )


def _show_leaders(study: Study, leaders: Sequence[CandidateRow]) -> None:
    terminal.say("\nbest in the search")
    cells = [
        {**row.flat(), "shape": shape_words(row.shape), "weights": "kept" if row.model_path else ""}
        for row in leaders
    ]
    rate = ["rate"] if study.config["recipe"]["rate"] == "search" else []
    show_table(
        cells, ["number", *study.objectives, "params", "shape", *rate, "candidate_id", "weights"]
    )


def _show_fidelity(summary: Mapping[str, Any]) -> None:
    """Write how the rungs ranked those that came to the end, where there is anything to rank."""
    for one in summary.get("fidelity", ()):
        if one["tau"] is None:
            continue
        similar = one["tau_similar"]
        words = "" if similar is None else f", {similar:.2f} within 10 % of size"
        at = amount_words(one.get("unit", "tokens"), one.get("amount", one["tokens"]))
        terminal.prose(
            f"measured at {at} and at the end: Kendall's tau "
            f"{one['tau']:.2f} over {several(one['count'], 'candidate')}{words}"
        )


def _show_finals(summary: Mapping[str, Any], by_architecture: Mapping[str, CandidateRow]) -> None:
    finalists = summary.get("finalists", [])
    if not finalists:
        terminal.say("\nno finals: nothing was trained again from fresh seeds")
        return
    seeds = max(sample["seeds"] for one in finalists for sample in one["metrics"].values())
    plus_minus = terminal.symbol("±", "+-")
    terminal.say(
        f"\nfinals: mean {plus_minus} sd over {seeds} fresh seed{'s' if seeds > 1 else ''}"
    )
    metrics = sorted({name for one in finalists for name in one["metrics"]}, reverse=True)
    cells = [_finalist(one, by_architecture, summary) for one in finalists]
    show_table(cells, ["number", *metrics, "params", "as", "shape", "seeds"])
    _show_comparison(summary)


def _finalist(
    one: Mapping[str, Any], by_architecture: Mapping[str, CandidateRow], summary: Mapping[str, Any]
) -> dict[str, Any]:
    row = by_architecture.get(one["architecture_id"])
    roles = [
        *(["winner"] if one["architecture_id"] == summary["winner"] else []),
        *(["reference"] if one["is_reference"] else []),
    ]
    metrics = {name: _mean_and_sd(sample) for name, sample in one["metrics"].items()}
    return {
        "number": one["number"],
        "params": one["params"],
        "shape": shape_words(row.shape) if row else None,
        "seeds": max(sample["seeds"] for sample in one["metrics"].values()),
        "as": ", ".join(roles),
        **metrics,
    }


def _mean_and_sd(sample: Mapping[str, Any]) -> str:
    if sample["sd"] is None:
        return measure(sample["mean"])
    return f"{measure(sample['mean'])} {terminal.symbol('±', '+-')} {measure(sample['sd'])}"


def group_cells(name: str, group: FinalistGroup, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the cells of one shape that was trained from several seeds."""
    from dataclasses import asdict

    from nas.finals import sample

    samples = {metric: sample(group.values(metric)) for metric in metrics}
    found = {metric: asdict(one) for metric, one in samples.items() if one is not None}
    return {
        "as": name,
        "params": group.rows[0].params,
        "shape": shape_words(group.rows[0].shape),
        "seeds": max((one["seeds"] for one in found.values()), default=0),
        **{metric: _mean_and_sd(one) for metric, one in found.items()},
    }


def _show_comparison(summary: Mapping[str, Any]) -> None:
    if summary["reference"] is None:
        terminal.say("\nthere is no reference to compare with")
    elif summary["winner"] == summary["reference"]:
        terminal.say("\nnothing beat the reference: it is the winner")
    else:
        terminal.say("\nwinner against the reference")
        for metric, found in summary["against_reference"].items():
            terminal.prose(f"{metric}: {comparison_words(found)}", indent="  ")


def _show_no_larger(study: Study, summary: Mapping[str, Any], rows: Sequence[CandidateRow]) -> None:
    by_id = {row.candidate_id: row for row in rows}
    row = by_id.get(summary.get("no_larger") or "")
    if row is None:
        return
    reference = next((r for r in rows if r.architecture_id == summary["reference"]), None)
    if reference is None or row.architecture_id == reference.architecture_id:
        terminal.prose("in the search no candidate of at most the reference's size beat it")
        return
    objective = study.objectives[0]
    value, other = row.flat().get(objective), reference.flat().get(objective)
    assert isinstance(value, float)
    assert isinstance(other, float)
    terminal.prose(
        f"best in the search of at most the reference's {count(reference.params or 0)} parameters: "
        f"#{row.number} {shape_words(row.shape)}, {measure(value)} against {measure(other)}"
    )


def _show_front(study: Study, summary: Mapping[str, Any], rows: Sequence[CandidateRow]) -> None:
    front = summary.get("pareto")
    if not front:
        return
    by_id = {row.candidate_id: row for row in rows}
    names = ["number", *study.objectives, "params", "shape", "candidate_id"]
    cells = [
        {**by_id[own].flat(), "shape": shape_words(by_id[own].shape)}
        for own in front["candidates"]
        if own in by_id
    ]
    terminal.say("\nPareto front of the search")
    show_table(cells, names)
    terminal.prose(front_words(front))


def _show_latency(summary: Mapping[str, Any]) -> None:
    found = summary.get("latency")
    if found:
        verdict = "within" if found["winner_ms"] <= found["max_ms"] else "above"
        terminal.prose(
            f"\nthe winner takes {found['winner_ms']:.3g} ms, measured at the end: {verdict} "
            f"latency.max_ms {found['max_ms']:g}"
        )


def _show_places(study: Study) -> None:
    from nas.report import FILE

    best, file, report = study.best(), study.folder / "study.db", study.folder / FILE
    terminal.say()
    show_pairs(
        {
            "folder": shown_path(study.folder),
            "database": shown_path(file) if file.exists() else study.database,
            "model": shown_path(study.folder / best.model_path) if best.model_path else None,
            "report": shown_path(report) if report.exists() else None,
        }
    )


def _show_use(study: Study) -> None:
    name, task = study_name(study), study.record.task_spec.task
    terminal.say("\nin Python")
    terminal.say("  import nas")
    terminal.say(f'  model = nas.load("{name}")')
    in_python, in_shell = usage(task, name)
    terminal.say(f"  {in_python}")
    if in_shell:
        terminal.say("in the shell")
        terminal.say(f"  {in_shell}")
