"""How the search ran: how long it took and for what, what failed, and where it all comes from."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from nas.records import BESIDE_ROLES, FAILED_STATES, FINAL_ROLES, to_plain
from nas.report.clock import busy_seconds
from nas.report.material import Material, rounded
from nas.report.outcome import called
from nas.store.rows import CandidateRow
from nas.wording import visible

# Parts of a worker's time on a candidate; `run` is training and validating.
PARTS = ("training", "validating", "building", "timing passes", "saving")
GROUPS = {
    "search": ("search",),
    "finals": FINAL_ROLES,
    "beside the search": BESIDE_ROLES,
}
TRACEBACKS, TRACEBACK_LETTERS = 30, 12_000
# What of a training's time is left out at both ends where it is asked how many ran at once.
MARGIN = 0.05


def cost_facts(material: Material) -> dict[str, Any]:
    """Return where the time went: workers' seconds by part and kind of candidate, and the pace."""
    spent = {name: _spent(material.rows, roles) for name, roles in GROUPS.items()}
    elapsed = float(material.summary.get("elapsed_seconds") or material.clock.seconds)
    own = [row for row in material.rows if row.role not in BESIDE_ROLES]
    busy = sum(busy_seconds(row.timings) for row in own)
    workers = _workers(material, own, busy, elapsed)
    tried = [row for row in material.search if row.state not in ("running", "interrupted")]
    trained = sum(row.timings.get("train", 0.0) for row in material.rows)
    tokens = sum(row.tokens for row in material.rows if row.timings.get("train"))
    return {
        "elapsed": rounded(elapsed, 6),
        "breaks": material.clock.breaks,
        "workers": workers,
        "spent": {name: parts for name, parts in spent.items() if parts is not None},
        "waiting": rounded(max(0.0, workers * elapsed - busy), 6),
        "busy": rounded(busy, 6),
        "tried": len(tried),
        "per_hour": rounded(3600 * len(tried) / elapsed, 4) if elapsed and tried else None,
        "tokens_per_second": rounded(tokens / trained, 4) if trained else None,
    }


def _spent(rows: Iterable[CandidateRow], roles: Sequence[str]) -> dict[str, float] | None:
    """Return the seconds of each part over some candidates; None where there are none."""
    totals = dict.fromkeys(PARTS, 0.0)
    for row in rows:
        if row.role in roles:
            for name, seconds in zip(PARTS, _parts(row.timings), strict=True):
                totals[name] += seconds
    if not any(totals.values()):
        return None
    return {name: rounded(seconds, 6) or 0.0 for name, seconds in totals.items()}


def _parts(timings: Mapping[str, float]) -> tuple[float, ...]:
    run, train = timings.get("run", 0.0), timings.get("train", 0.0)
    others = (timings.get(name, 0.0) for name in ("build", "latency", "save"))
    return (train, max(0.0, run - train), *others)


def _workers(material: Material, rows: Sequence[CandidateRow], busy: float, elapsed: float) -> int:
    """Return how many candidates were trained at once, as the study file says or rows show."""
    config = material.record.config
    if config.get("executor") == "inline":
        return 1
    if config.get("workers"):
        return int(config["workers"])
    at_least = math.ceil(busy / elapsed - MARGIN) if elapsed else 1
    return max(1, at_least, _most_at_once(material, rows))


def _most_at_once(material: Material, rows: Sequence[CandidateRow]) -> int:
    """Return the largest number of trainings under way together, of those that never paused."""
    changes = []
    for row in rows:
        began, ended = (material.clock.at(t) for t in (row.created_at, row.finished_at))
        busy = busy_seconds(row.timings)
        if began is None or ended is None or ended - began > 2 * busy + 1:
            continue  # it waited at a rung, or through a break
        changes += [(ended - busy * (1 - MARGIN), 1), (ended - busy * MARGIN, -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def failure_facts(material: Material) -> list[dict[str, Any]]:
    """Return the failures by cause, the most frequent first.

    Each has `state`, `error`, the places of the `candidates` and a `traceback` of one of them.
    """
    causes: dict[tuple[str, str], list[CandidateRow]] = {}
    for row in material.rows:
        if row.state in FAILED_STATES:
            causes.setdefault((row.state, _cause(row.error)), []).append(row)
    ordered = sorted(causes.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "state": state,
            "error": visible(" ".join(rows[0].error.split())) or "no message",
            "candidates": [material.place[row.candidate_id] for row in rows],
            "traceback": _traceback(rows) if at < TRACEBACKS else "",
        }
        for at, ((state, _), rows) in enumerate(ordered)
    ]


def _cause(error: str) -> str:
    """Return an error without its numbers, so that one cause is told once."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "N", " ".join(error.split()))


def _traceback(rows: Sequence[CandidateRow]) -> str:
    text = next((row.traceback for row in rows if row.traceback), "")
    return visible(text.rstrip())[-TRACEBACK_LETTERS:]


def provenance_facts(material: Material) -> dict[str, Any]:
    """Return where the study comes from: files, seeds, data, versions, machine, commands."""
    record = material.record
    config = dict(record.config)
    space = config.pop("space", None)
    seeds = sorted({row.seed for row in material.rows})
    return {
        "folder": str(material.study.folder),
        "database": material.study.database,
        "created": f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "seed": config.get("seed"),
        "seeds": seeds,
        "data": record.data_fingerprint,
        "task": _words(to_plain(record.task_spec)),
        "versions": dict(record.versions),
        "machine": _machine(material),
        "space": _yaml(space) if space else "",
        "study_file": _yaml(config),
        "commands": _commands(material),
    }


def _machine(material: Material) -> dict[str, str]:
    numerics, owner = material.record.numerics, material.record.owner or {}
    found = {name: str(value) for name, value in (to_plain(numerics) or {}).items()}
    if owner.get("host"):
        found["host"] = str(owner["host"])
    return found


def _yaml(plain: Any) -> str:
    text: str = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=100)
    return text


def _words(plain: Mapping[str, Any]) -> str:
    few = {name: value for name, value in plain.items() if not isinstance(value, (list, dict))}
    many = {name: len(value) for name, value in plain.items() if isinstance(value, (list, dict))}
    return ", ".join(f"{name} {value}" for name, value in {**few, **many}.items())


def _commands(material: Material) -> str:
    name = shlex.quote(called(material))
    lines = [
        f"nas search {name}   # goes on, or shows the result",
        f"nas trials {name}   # a row a candidate",
        f"nas show {name}     # the winner; with a number, that candidate",
        f"nas report {name}   # this page anew",
    ]
    return "\n".join(lines)
