"""`nas report` on a study that was searched."""

import sys

import pytest


def test_report_is_told_where_it_is(place, nas):
    found = nas("report", "tiny")
    assert found.code == 0
    assert found.out.splitlines() == [
        "study tiny in studies/tiny",
        "report: studies/tiny/report.html",
    ]
    assert "report    studies/tiny/report.html" in nas("search", "tiny.yaml").out


def test_report_goes_to_a_file_of_ones_own(place, tmp_path, nas):
    assert nas("report", "--out", tmp_path / "page.html").code == 0
    assert (tmp_path / "page.html").read_bytes() == (
        place / "studies" / "tiny" / "report.html"
    ).read_bytes()
    refused = nas("report", "--out", tmp_path / "nowhere" / "page.html")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("missing", ["kaleido", "choreographer"])
def test_pictures_without_what_draws_them_are_refused(place, tmp_path, nas, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    refused = nas("report", "--images", tmp_path / "images")
    assert refused.code == 2
    assert "pip install 'transformer-nas[images]'" in refused.err
