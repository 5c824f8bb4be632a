"""Names and errors that are no text but a page's own code, as far as they can help it."""

import pytest
from browsing import dialogs_of
from made_studies import ERRORS, make_study

pytestmark = pytest.mark.slow

NAME = "<script>alert(1)</script>"
ERROR = "ValueError: </script><script>alert(2)</script><img src=x onerror=alert(3)>"
TRACEBACK = "Traceback (most recent call last):\n  </script></pre><svg onload=alert(4)>\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from nas.report import write_report

    study = make_study(
        tmp_path_factory.mktemp("hostile") / "study",
        name=NAME,
        candidates=20,
        errors=ERRORS | {"failed": ERROR},
        traceback=TRACEBACK,
    )
    return write_report(study)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_in_a_database_stays_text(chromium, page, scheme):
    chromium.open(page, scheme=scheme)
    assert not chromium.has_dialog()
    assert dialogs_of(chromium.events()) == []
    assert chromium.console() == []
    assert NAME in chromium.driver.title
    assert NAME in chromium.text("h1")
    failures = chromium.text("#failures")
    assert ERROR in failures
    assert TRACEBACK.strip() in failures
    assert len(chromium.elements("img, svg[onload]")) == 0


def test_it_stays_text_where_it_is_filtered_and_sorted(chromium, page):
    chromium.open(page)
    chromium.element("#filter").send_keys(NAME)
    for button in chromium.elements("#table th button"):
        chromium.click(button)
    assert not chromium.has_dialog()
    assert chromium.console() == []
