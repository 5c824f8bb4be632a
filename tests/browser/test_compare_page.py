"""The page of searches side by side, in a real browser."""

import pytest
from browsing import CONTRAST, dialogs_of, requests_of
from made_studies import make_study

from nas.report.compare_page import write_comparison
from nas.report.comparison import compare_studies

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    kinds = {
        "auto-0": {},
        "auto-1": {"seed": 1},
        "auto-2": {"seed": 2},
        "evil": {"name": HOSTILE, "changes": {"strategy": "random"}},
        "failed": {"ends": ("failed",), "changes": {"strategy": "tpe"}},
    }
    studies = [
        make_study(folder / name, **{"name": name, "candidates": 20} | options)
        for name, options in kinds.items()
    ]
    found = compare_studies(studies)
    return found, write_comparison(found, folder / "compare.html")


def test_page_draws_lines_bands_and_figures_and_asks_for_nothing(chromium, comparison):
    found, page = comparison
    chromium.open(page)
    assert chromium.console() == []
    events = chromium.events()
    assert (requests_of(events), dialogs_of(events)) == ([page.as_uri()], [])
    for plot in ("#plot-progress", "#plot-finals"):
        assert chromium.elements(f"{plot} .js-plotly-plot .scatterlayer path")
        assert len(chromium.element(f"{plot} .plot").get_attribute("aria-label")) > 30
    text = chromium.text("main")
    for words in ("auto (3 seeds)", HOSTILE, "failed", found.verdict, *found.warnings):
        assert words in text
    rows = chromium.elements("#searches tbody tr")
    assert len(rows) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_on_a_phone(chromium, comparison, scheme):
    chromium.open(comparison[1], width=400, scheme=scheme)
    wide, height = chromium.run(
        "const root = document.documentElement; return [root.scrollWidth, root.scrollHeight]"
    )
    assert wide == 400
    chromium.resize(400, height)
    texts, weak = chromium.run(CONTRAST)
    assert texts > 40
    assert weak == []
