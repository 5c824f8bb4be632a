"""The page: whole, safe, the same for the same facts; and that a report never harms."""

import html.parser
import json
import os
import re
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.report import gather, write_report
from nas.report.figures import FIGURES, plots_of
from nas.report.images import write_images
from nas.report.page import render
from nas.report.palette import THEMES

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
SECTIONS = [
    "winner",
    "progress",
    "curves",
    "pareto",
    "importance",
    "parallel",
    "scaling",
    "fidelity",
    "cost",
    "failures",
    "candidates",
    "provenance",
]


class Reader(html.parser.HTMLParser):
    """Takes down elements with their attributes, and the text of scripts by id."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self._inside = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = dict(attrs).get("id", f"script {len(self.scripts)}")
            self.scripts[self._inside] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._inside = None

    def handle_data(self, data):
        if self._inside is not None:
            self.scripts[self._inside] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def test_page_has_every_section_and_nothing_from_elsewhere(study):
    facts = gather(study)
    page = render(facts)
    read = Reader(page)
    assert [one["id"] for one in read.all("section")] == SECTIONS
    assert [one["id"] for one in read.all("figure")] == [f"plot-{name}" for name in FIGURES]
    assert json.loads(read.scripts["facts"]) == facts
    links = [one for _, one in read.elements if "src" in one or "href" in one]
    assert {one.get("href", "")[:1] for one in links} <= {"#", "d"}  # "data:," of the icon
    assert not [one for one in links if "src" in one]
    rows = page.partition('<table id="table">')[2].partition("</table>")[0]
    assert rows.count("<tr id=") == len(study.trials())


def test_the_same_facts_give_the_same_bytes(study):
    assert render(gather(study)) == render(gather(study))


@pytest.mark.parametrize("objectives", [("val_loss",), ("val_<script>alert(1)</script>",)])
def test_nothing_from_a_study_is_markup(made, objectives):
    def fill(maker):
        more = {name.removeprefix("val_"): 1.0 for name in objectives[:1] if "<" in name}
        for number in range(2):
            maker.complete(number, 2.0 + number, n_layer=number + 1, more=more)
        maker.fail(2, error=HOSTILE, traceback=HOSTILE, n_layer=3)

    facts = gather(made(fill, name=HOSTILE, objectives=objectives))
    page = render(facts)
    read = Reader(page)
    figures = [plot for plot in plots_of(facts).values() if plot.data]
    # Facts, themes, shapes and plotly, what runs and what calls it, and each figure.
    assert len(read.all("script")) == 6 + len(figures)
    assert not read.all("img")
    assert not [one for _, one in read.elements if any(name.startswith("on") for name in one)]
    assert HOSTILE not in page
    assert json.loads(read.scripts["facts"])["study"]["name"] == HOSTILE


@pytest.mark.parametrize(
    "fill",
    [
        lambda maker: None,
        lambda maker: maker.begin(0),
        lambda maker: maker.fail(0),
        lambda maker: maker.complete(0, 2.5),
        lambda maker: maker.finish(None),
    ],
    ids=["empty", "begun", "failed", "one", "finished"],
)
def test_studies_with_little_in_them_have_a_page(made, fill):
    facts = gather(made(fill))
    page = render(facts)
    empty = [plot for plot in plots_of(facts).values() if not plot.data]
    assert page.count('<p class="empty">') >= len(empty) > 0
    assert all(plot.caption for plot in empty)


def test_plots_are_plotlys(study):
    from needs import need_module

    need_module("plotly", "pip install plotly")
    from plotly import graph_objects

    for name, plot in plots_of(gather(study)).items():
        figure = json.loads(json.dumps(plot.figure).replace('"@', '"#123456 @'))
        text = re.sub(r"#123456 @\w+", "#123456", json.dumps(figure))
        graph_objects.Figure(json.loads(text))  # refuses what plotly does not know
        assert plot.alt or not plot.data, name


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_colours_can_be_told_apart(theme):
    colours = dict(THEMES[theme])
    grounds = [colours.pop("ground"), colours.pop("panel")]
    del colours["line"]  # of grids and borders, which nobody needs to see
    for name, colour in colours.items():
        least = 4.5 if name in ("text", "muted", "link", "best", "good", "bad") else 3.0
        assert all(contrast(colour, ground) >= least for ground in grounds), name


def test_report_goes_where_it_is_asked_to(study, tmp_path):
    assert write_report(study) == study.folder / "report.html"
    assert (
        write_report(study, tmp_path / "r.html").read_bytes()
        == (study.folder / "report.html").read_bytes()
    )
    with pytest.raises(InputError, match=r"no report can be written: .*choose another place"):
        write_report(study, tmp_path / "missing" / "r.html")
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_a_killed_writer_left_is_deleted_and_what_another_writes_is_not(study, tmp_path):
    left, others = tmp_path / ".r[1].html.1.tmp", tmp_path / ".r[1].html.2.tmp"
    for path in (left, others):
        path.write_text("<html>")
    os.utime(left, (0, 0))
    write_report(study, tmp_path / "r[1].html")
    assert not left.exists()
    assert others.exists()


def test_pictures_without_kaleido_say_what_to_install(study, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kaleido", None)
    with pytest.raises(InputError, match=r"pip install 'transformer-nas\[images\]'"):
        write_images(gather(study), tmp_path / "images")


@pytest.mark.slow
def test_pictures_are_drawn(study, tmp_path):
    from needs import need_module, need_program

    need_module("kaleido", "pip install kaleido")
    need_program("chromium", "apt install chromium")
    files = write_images(gather(study), tmp_path / "images")
    assert [file.name for file in files] == [
        f"{name}.png" for name, plot in plots_of(gather(study)).items() if plot.data
    ]
    assert all(Path(file).read_bytes().startswith(b"\x89PNG") for file in files)
