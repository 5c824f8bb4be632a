"""`nas compare` as a person and a program use it."""

import json
from urllib.parse import quote

import pytest
from made_studies import make_study
from postgres import PASSWORD


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    for name, options in (
        ("auto-0", {}),
        ("auto-1", {"seed": 1}),
        ("random", {"changes": {"strategy": "random"}}),
    ):
        make_study(folder / "studies" / name, name=name, candidates=8, seeds=2, **options)
    return folder


@pytest.fixture
def here(studies, monkeypatch):
    monkeypatch.chdir(studies)
    return studies


def test_a_row_a_search_and_where_the_page_is(nas, here):
    found = nas("compare", "auto-0", "auto-1", "random")
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert lines[0] == "compared on val_loss (smaller is better)"
    assert [line.split()[0] for line in lines[2:5]] == ["auto-0", "auto-1", "random"]
    assert any(line.startswith("auto (2 seeds)  ") for line in lines)
    assert "page: studies/compare.html" in found.out.replace("\\", "/")
    assert (here / "studies" / "compare.html").is_file()
    assert max(map(len, lines)) <= 80


def test_json_and_csv_are_whole_and_write_a_page_only_where_asked(nas, here, tmp_path):
    found = nas("compare", "auto-0", "random", "--format", "json")
    plain = json.loads(found.out)
    assert [group["label"] for group in plain["groups"]] == ["auto-0", "random"]
    assert (plain["objective"], found.err) == ("val_loss", "")
    page = tmp_path / "page.html"
    found = nas("compare", "auto-0", "random", "--format", "csv", "--html", page)
    header, *rows = found.out.splitlines()
    assert header.startswith("study,group,seed,state,candidates,complete,best,val_loss")
    assert [row.split(",")[0] for row in rows] == ["auto-0", "random"]
    assert str(page) in found.err
    assert page.is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("auto-0",), "got 1 study, expected two or more"),
        (("auto-0", "auto-0"), "study 'auto-0' is given twice"),
        (("auto-0", "rondom"), "no study 'rondom'"),
        ((), "Missing argument"),
        (("auto-0", "random", "--out", "."), "is a folder; name a file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(nas, here, arguments, words):
    found = nas("compare", *arguments)
    assert found.code == 2
    assert words in found.err
    assert len(found.err.splitlines()) == 1


@pytest.mark.slow
def test_searches_on_a_server_are_put_beside_one_in_a_file(
    nas, here, tmp_path, postgres_url, monkeypatch
):
    known = postgres_url.replace("+psycopg", "")
    monkeypatch.setenv("NAS_DATABASE", known)
    server = known.replace(f":{quote(PASSWORD, '')}@", "@")
    for seed in (0, 1):
        folder = tmp_path / "studies" / f"far-{seed}"
        make_study(folder, name=f"far-{seed}", url=postgres_url, seed=seed, candidates=6, seeds=2)
    page = tmp_path / "page.html"
    found = nas("compare", f"{server}#far-0", f"{server}#far-1", "random", "--html", page)
    assert (found.code, found.err) == (0, "")
    rows = [line.split()[0] for line in found.out.splitlines()[2:5]]
    assert rows == ["far-0", "far-1", "random"]
    reported = nas("report", f"{server}#far-0", "--out", tmp_path / "report.html")
    assert reported.code == 0
    texts = [found.out, page.read_text("utf-8"), reported.out + reported.err]
    texts.append((tmp_path / "report.html").read_text("utf-8"))
    assert "far-1" in texts[1]
    assert not any(secret in text for text in texts for secret in (PASSWORD, quote(PASSWORD, "")))
