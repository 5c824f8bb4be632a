"""A search leaves its report, and no report is worth a search."""

import signal

import pytest

import nas
from nas.driver import SearchInterrupted
from nas.driver.events import CandidateStarted, Note
from nas.report import FILE

SMALL = {"stop": {"candidates": 1}, "finalists": {"top": 0, "seeds": 1}}


def test_a_report_that_cannot_be_written_is_a_line(configure, tmp_path):
    config, notes = configure(**SMALL), []
    in_the_way = tmp_path / "studies" / "tiny" / FILE
    in_the_way.mkdir(parents=True)
    study = nas.search(config, listener=notes.append)
    texts = [event.text for event in notes if isinstance(event, Note)]
    assert [text for text in texts if "no report was written: " in text and "nas report" in text]
    assert study.record.state == "finished"
    assert len(study.trials()) == 1
    assert not list(study.folder.glob("*.tmp"))


def test_an_interrupted_search_leaves_a_report_that_says_so(configure):
    config, notes = configure(**SMALL), []

    def interrupt(event):
        notes.append(event)
        if isinstance(event, CandidateStarted):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(SearchInterrupted):
        nas.search(config, listener=interrupt)
    report = nas.open_study("tiny").folder / FILE
    assert "The search is interrupted" in report.read_text(encoding="utf-8")
    assert f"report: {report}" in [event.text for event in notes if isinstance(event, Note)]
    nas.search(config)
    whole = report.read_text(encoding="utf-8")
    assert "The search is interrupted" not in whole
    report.unlink()  # as a search leaves it that was killed at its very end
    nas.search(config)
    assert report.read_text(encoding="utf-8") == whole
