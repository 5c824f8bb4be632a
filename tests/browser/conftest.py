"""A browser, and the report pages of studies of every kind, each made once."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from browsing import browser
from made_studies import ALL_FAILED, make_study

from nas.study import Study

STUDIES = {
    "empty": {"candidates": 0, "finished": False},
    "one": {"candidates": 1},
    "fifty": {},
    "running": {"candidates": 20, "finished": False},
    "failed": {"candidates": 12, "ends": ALL_FAILED},
    "two": {"objectives": ("val_loss", "latency_ms")},
    "texts": {"task": "text_classification", "objectives": ("val_accuracy",), "candidates": 12},
    "pairs": {"task": "sequence_to_sequence", "candidates": 12},
    "images": {"task": "image_classification", "candidates": 12},
    "items": {"task": "sequential_recommendation", "candidates": 12},
    "many": {"candidates": 1000},
}


@dataclass(frozen=True)
class Report:
    """A study and its page."""

    study: Study
    page: Path


@pytest.fixture(scope="session")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """Return the report of a study of `STUDIES`."""
    from nas.report import write_report

    folder, known = tmp_path_factory.mktemp("reports"), {}

    def made(name):
        if name not in known:
            study = make_study(folder / name, name=name, **STUDIES[name])
            known[name] = Report(study, write_report(study))
        return known[name]

    return made
