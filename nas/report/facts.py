"""From a stored study to one plain record: every number and every word of the page is from it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from nas.report.analysis import fidelity_facts, importance_facts, pareto_facts, scaling_facts
from nas.report.candidates import candidate_facts, columns, curve_facts
from nas.report.material import Material, read
from nas.report.outcome import result_facts, shape_facts
from nas.report.running import cost_facts, failure_facts, provenance_facts
from nas.study import Study
from nas.tasks.metrics import direction

# The password in a URL, and one among its options: an error or a traceback may hold either.
_PASSWORD = re.compile(r"(?P<who>\b[a-zA-Z][\w+.-]*://[^\s/:@'\"]*:)[^\s'\"]+@")
_OPTION = re.compile(r"(?P<name>\b(?:ssl)?password=)[^\s&'\"]+", re.IGNORECASE)


def gather(study: Study) -> dict[str, Any]:
    """Return the facts of a study, plain JSON; it may be running, and nothing in it is changed.

    Returns:
        `study`, `result`, `candidates` (best first; other facts name one by its place here),
        `columns` of the table, `shapes` by architecture id, `curves`, `pareto`, `importance`,
        `scaling`, `fidelity`, `cost`, `failures` and `provenance`; see the functions that make
        them. No password of a database's URL is in it.
    """
    material = read(study)
    facts = {
        "format": 1,
        "study": _study(material),
        "result": result_facts(material),
        "columns": columns(material),
        "candidates": candidate_facts(material),
        "shapes": shape_facts(material),
        "curves": curve_facts(material),
        "pareto": pareto_facts(material),
        "importance": importance_facts(material),
        "scaling": scaling_facts(material),
        "fidelity": fidelity_facts(material),
        "cost": cost_facts(material),
        "failures": failure_facts(material),
        "provenance": provenance_facts(material),
    }
    found: dict[str, Any] = without_secrets(facts)
    return found


def _study(material: Material) -> dict[str, Any]:
    record = material.record
    spaces = record.config.get("space") or {}
    return {
        "name": record.name,
        "state": record.state,
        "task": record.task_spec.task,
        "family": spaces.get("family") or next((row.family for row in material.rows), ""),
        "strategy": record.config.get("strategy", ""),
        "objectives": [
            {"name": name, "direction": direction(name)} for name in material.study.objectives
        ],
        "rungs": list(record.rungs),
        "states": dict(Counter(row.state for row in material.search).most_common()),
        "tried": len(material.search),
        "rows": len(material.rows),
        "as_of": f"{material.clock.last:%Y-%m-%d %H:%M} UTC",
    }


def without_secrets(plain: Any) -> Any:
    """Return plain JSON with the password of every URL in its texts struck out."""
    if isinstance(plain, str):
        if "://" not in plain and "assword=" not in plain:
            return plain
        return _OPTION.sub(r"\g<name>***", _PASSWORD.sub(r"\g<who>***@", plain))
    if isinstance(plain, dict):
        return {name: without_secrets(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return [without_secrets(value) for value in plain]
    return plain
