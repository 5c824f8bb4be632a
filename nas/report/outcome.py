"""The answer: who won, by how much against the reference, and how to load the winner."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nas.finals import summarise
from nas.places import studies_folder
from nas.records import BESIDE_ROLES, Architecture
from nas.report.material import Material, rounded
from nas.report.shapes import shape_fact
from nas.store.rows import CandidateRow
from nas.tasks.metrics import direction
from nas.wording import comparison_words, count, measure, several, shape_words, usage


def result_facts(material: Material) -> dict[str, Any]:
    """Return the result as far as there is one.

    It has `verdict` (none, leading, alone, reference, better, tie or worse), `headline` and
    `sentences` in words, `winner` and `reference` (places of candidates, or nothing), `finalists`,
    `comparisons` by metric, `no_larger`, and `use`: how the winner is loaded.
    """
    reference_id = _reference_id(material)
    summary = _summary(material, reference_id)
    winner = _row_of(material, summary["winner"])
    reference = _row_of(material, reference_id)
    verdict = _verdict(material, summary, winner)
    facts = {
        "verdict": verdict,
        "winner": None if winner is None else material.place[winner.candidate_id],
        "reference": None if reference is None else material.place[reference.candidate_id],
        "finalists": [_finalist(material, one, summary) for one in summary["finalists"]],
        "comparisons": [
            _comparison(metric, found) for metric, found in summary["against_reference"].items()
        ],
        "no_larger": material.place.get(summary["no_larger"] or ""),
        "latency": material.summary.get("latency"),
        "use": None if winner is None else _use(material, winner),
    }
    return facts | _words(material, facts, winner, reference)


def _reference_id(material: Material) -> str | None:
    """Return the architecture id of the shape to beat, as stored or as the space says."""
    if "reference" in material.summary:
        stored: str | None = material.summary["reference"]
        return stored
    space = material.record.config.get("space", {})
    if "reference" not in space:
        return None
    return Architecture(family=space["family"], shape=space["reference"]).id


def _summary(material: Material, reference_id: str | None) -> dict[str, Any]:
    """Return what the finals say, reckoned from the rows as the driver does.

    Where the search had a limit on latency, who was too slow at its end cannot win here either.
    """
    groups = material.study.finalists()
    winner = material.summary.get("winner")
    ids = [group.architecture_id for group in groups]
    ahead: Sequence[str] = ()
    if material.summary.get("latency") and winner in ids:
        ahead = ids[: ids.index(winner)]
    return summarise(
        groups, material.complete, material.objective, reference_id, too_slow=set(ahead)
    )


def _row_of(material: Material, architecture_id: str | None) -> CandidateRow | None:
    """Return the candidate that stands for a shape: the best with weights, else of the search."""
    own = [row for row in material.rows if row.architecture_id == architecture_id]
    own = [row for row in own if row.state == "complete"] or own
    own.sort(key=lambda row: (row.model_path is None, row.role != "search"))
    return own[0] if own else None


def _verdict(material: Material, summary: Mapping[str, Any], winner: CandidateRow | None) -> str:
    if winner is None:
        return "none"
    if not material.finished:
        return "leading"
    if summary["reference"] is None or not summary["finalists"]:
        return "alone"
    if summary["winner"] == summary["reference"]:
        return "reference"
    telling = _telling(summary["against_reference"])
    if telling is None:
        return "alone"
    metric, found = telling
    if found["tie"]:
        return "tie"
    return "better" if _is_better(metric, found["difference"]) else "worse"


def _telling(comparisons: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the comparison that counts: on test, which the search has not read, else on val."""
    found = sorted(comparisons.items(), key=lambda item: not item[0].startswith("test_"))
    return found[0] if found else None


def _is_better(metric: str, difference: float) -> bool:
    return difference > 0 if direction(metric) == "maximize" else difference < 0


def _comparison(metric: str, found: Mapping[str, Any]) -> dict[str, Any]:
    interval = found["interval"]
    return {
        "metric": metric,
        "difference": rounded(found["difference"]),
        "interval": None if interval is None else [rounded(end) for end in interval],
        "tie": found["tie"],
        "better": _is_better(metric, found["difference"]),
        "words": comparison_words(found),
        "winner": _mean_and_sd(found["winner"]),
        "reference": _mean_and_sd(found["other"]),
    }


def _finalist(
    material: Material, one: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, Any]:
    row = _row_of(material, one["architecture_id"])
    assert row is not None, "finalists are rows"
    metrics = one["metrics"]
    return {
        "candidate": material.place[row.candidate_id],
        "number": one["number"],
        "params": one["params"],
        "shape": shape_words(row.shape),
        "is_winner": one["architecture_id"] == summary["winner"],
        "is_reference": one["is_reference"],
        "seeds": max((sample["seeds"] for sample in metrics.values()), default=0),
        "metrics": {name: _mean_and_sd(metrics[name]) for name in sorted(metrics, reverse=True)},
    }


def _mean_and_sd(sample: Mapping[str, Any]) -> dict[str, Any]:
    sd, mean = sample["sd"], measure(sample["mean"])
    # Where the mean has four decimals the spread has no more.
    spread = "" if sd is None else f" ± {measure(sd) if 'e' in mean else f'{sd:.4f}'}"
    return {
        "mean": rounded(sample["mean"]),
        "sd": rounded(sd),
        "seeds": sample["seeds"],
        "words": f"{mean}{spread}",
    }


def _words(
    material: Material,
    facts: Mapping[str, Any],
    winner: CandidateRow | None,
    reference: CandidateRow | None,
) -> dict[str, Any]:
    """Return the headline and the sentences under it."""
    if winner is None:
        return {"headline": _nothing(material), "sentences": []}
    shape, objective = shape_words(winner.shape), material.objective
    value = material.value(winner)
    figure = "" if value is None else f", {objective} {measure(value)}"
    if facts["verdict"] == "leading":
        of = several(len(material.complete), "complete candidate")
        return {
            "headline": f"Best so far: {shape}{figure}",
            "sentences": [f"The search {_state_words(material)}; this is the best of {of}."],
        }
    return {
        "headline": _headline(facts["verdict"], shape),
        "sentences": [*_figures(facts), *_beside(material, facts, winner, reference)],
    }


def _headline(verdict: str, shape: str) -> str:
    against = {
        "better": "better than the reference, beyond the spread of seeds",
        "worse": "chosen on val, but behind the reference beyond the spread of seeds",
        "tie": "a tie with the reference",
        "reference": "the reference itself, which nothing beat",
    }
    return f"{shape}: {against[verdict]}" if verdict in against else f"Winner: {shape}"


def _figures(facts: Mapping[str, Any]) -> list[str]:
    """Return the winner's figures in words, beside the reference's where that is another shape."""
    if facts["comparisons"]:
        return [
            f"{one['metric']} {one['winner']['words']} against the reference's "
            f"{one['reference']['words']} over {several(one['winner']['seeds'], 'fresh seed')}: "
            f"{one['words']}."
            for one in facts["comparisons"]
        ]
    own = next((one for one in facts["finalists"] if one["is_winner"]), None)
    if own is None:
        return [
            "No finals: nothing was trained again from fresh seeds, so that a small lead may be "
            "luck."
        ]
    figures = ", ".join(f"{name} {one['words']}" for name, one in own["metrics"].items())
    return [f"{figures} over {several(own['seeds'], 'fresh seed')}."]


def _beside(
    material: Material,
    facts: Mapping[str, Any],
    winner: CandidateRow,
    reference: CandidateRow | None,
) -> list[str]:
    """Return what else is worth a sentence: sizes, the best one that is no larger, latency."""
    said = []
    if reference is None:
        said.append("There is no reference to compare with.")
    elif winner.architecture_id != reference.architecture_id and winner.params and reference.params:
        ratio = winner.params / reference.params
        said.append(
            f"It has {count(winner.params)} parameters, {ratio:.2g} times the reference's "
            f"{count(reference.params)}."
        )
    if (at := facts["no_larger"]) is not None and reference is not None:
        said += _no_larger(material, material.rows[at], reference)
    if found := facts["latency"]:
        within = "within" if found["winner_ms"] <= found["max_ms"] else "above"
        said.append(
            f"It takes {found['winner_ms']:.3g} ms, measured at the end: {within} latency.max_ms "
            f"{found['max_ms']:g}."
        )
    if not material.record.config.get("split", {}).get("test", True):
        said.append("No test split was kept: all figures are on val, which the search has read.")
    return said


def _no_larger(material: Material, row: CandidateRow, reference: CandidateRow) -> list[str]:
    if row.architecture_id == reference.architecture_id:
        return ["In the search no candidate of at most the reference's size beat it."]
    tried = [r for r in material.complete if r.architecture_id == reference.architecture_id]
    values = material.value(row), material.value(tried[0]) if tried else None
    if values[0] is None or values[1] is None:
        return []
    return [
        f"Best in the search of at most the reference's size: #{row.number} "
        f"{shape_words(row.shape)}, {measure(values[0])} against {measure(values[1])}."
    ]


def _state_words(material: Material) -> str:
    state = material.record.state
    return {"running": "was under way"}.get(state, f"is {state}")  # when it was last heard of


def _nothing(material: Material) -> str:
    tried, state = len(material.search), material.record.state
    if not tried:
        return "Nothing was trained yet" if state != "finished" else "Nothing was trained"
    open_ones = [row for row in material.search if row.state in ("running", "paused")]
    if open_ones and state == "running":
        return "No candidate is complete yet"
    return f"No candidate is complete: {several(tried, 'candidate')}, none came to the end"


def called(material: Material) -> str:
    """Return what commands and `nas.load` find the study by, from the folder above `studies`."""
    study = material.study
    usual = studies_folder().absolute() / study.name
    return study.name if study.folder == usual else str(study.folder)


def _loaded(material: Material, winner: CandidateRow) -> CandidateRow:
    """Return the candidate of the winner's shape that `nas.load` takes: the best with weights."""
    own = [row for row in material.rows if row.architecture_id == winner.architecture_id]
    kept = [row for row in own if row.model_path is not None and row.role not in BESIDE_ROLES]
    return next((row for row in kept if row.state == "complete"), winner)


def _use(material: Material, winner: CandidateRow) -> dict[str, Any]:
    """Return the lines that load the winner, in Python and in the shell."""
    name, spec = called(material), material.record.task_spec
    loaded = _loaded(material, winner)
    in_python, in_shell = usage(spec.task, name)
    python = ["import nas", "", f"model = nas.load({name!r})", in_python]
    word = shlex.quote(name)
    shell = [f"nas show {word}"]
    if loaded.model_path is None:
        shell.append(f"nas train {word} --candidate {loaded.candidate_id}  # makes its weights")
    elif in_shell:
        shell.append(in_shell)
    shell.append(f"nas export {word} --to hf")
    return {
        "python": "\n".join(python),
        "shell": "\n".join(shell),
        "folder": loaded.model_path and f"{material.study.folder.name}/{loaded.model_path}",
    }


def shape_facts(material: Material) -> dict[str, Any]:
    """Return each shape by its architecture id: family, width, stacks of layers, other fields."""
    shapes: dict[str, Any] = {}
    for row in material.rows:
        if row.architecture_id not in shapes:
            shapes[row.architecture_id] = shape_fact(row)
    return shapes
