"""Names that would do harm where they are taken for more than names: paths, HTML, control codes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import build, write_byte_tokenizer

import nas
from nas.artifact.card import model_card
from nas.artifact.writing import write_model
from nas.cli import terminal
from nas.cli.wording import shape_words
from nas.config import check_study_name
from nas.driver.settings import name_from_data
from nas.errors import InputError, NasError, StoreError
from nas.families import architecture
from nas.records import Recipe, TaskSpec

HTML = "<script>alert(1)</script>"
CLEAR = "\x1b[2J\x1b[31mred\x07\x9b2J\u202eturned\r"
LONG = "a" * 300
HOSTILE = (HTML, "../x", "..", ".", "a/b", "a\\b", "con", "NUL.txt", "com1", LONG, "a\nb", CLEAR,
           "", "-rf", "name.", "~", "$(id)", "%00", "a\0b")  # fmt: skip
CONTROL = set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x202E]))

STUDY_FILE = """\
format_version: 1
space:
  format_version: 1
  family: llama
  fixed: {n_layer: 1, n_head: 2, d_ff: 16}
  dimensions: {d_model: {choices: [16, 24]}}
task: {name: language_modeling, data: notes.txt}
recipe: {context: 16, batch: 4, precision: fp32}
per_candidate: {tokens: 640}
finalists: {top: 0}
stop: {candidates: 1}
strategy: random
executor: inline
device: cpu
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of one candidate."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "tiny.yaml").write_text(STUDY_FILE)
    (folder / "notes.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("NAS_STUDIES", raising=False)
        nas.search("tiny.yaml")
    return folder


@pytest.fixture
def place(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed at will, as working directory."""
    folder = tmp_path / "inner" / "place"
    shutil.copytree(searched, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NAS_STUDIES", raising=False)
    return folder


def run(*arguments: str) -> tuple[int, str, str]:
    """Run a command line in this process."""
    import contextlib
    import io

    from nas.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    return status, out.getvalue(), err.getvalue()


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("study.db")
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_study_is_not_called_so(name: str) -> None:
    with pytest.raises(InputError, match="study name") as refused:
        check_study_name(name)
    assert not CONTROL & set(str(refused.value))


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\0" not in name])
def test_data_of_any_name_gives_a_study_a_name(name: str) -> None:
    check_study_name(name_from_data(f"folder/{name}" if name not in (".", "..") else name))


QUICK = (HTML, "../x", CLEAR)
SOME = [
    *QUICK,
    *(pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE if name not in QUICK),
]


@pytest.mark.parametrize("name", SOME)
def test_every_command_answers_any_name_in_one_harmless_line(place: Path, name: str) -> None:
    before = files_of(place.parents[1])
    argument = f"./{name}" if name.startswith("-") else name
    for command in (
        ("search", "tiny.yaml", "--name", name),
        ("search", "tiny.yaml", "--fresh", "--name", name),
        ("trials", argument),
        ("show", "tiny", name.lstrip("-") or "x"),
        ("rm", argument, "--yes"),
        ("enqueue", "tiny", f"{name}=1"),
        ("profile", "--space", name),
        ("search", "--data", f"nowhere/{name}", "--name", "other"),
    ):
        status, out, err = run(*command)
        assert status == 2, (command, out, err)
        assert err.count("\n") == 1, (command, err)
        assert not CONTROL & set(out + err), command
    assert files_of(place.parents[1]) == before


NAMES_OF_FILES = (HTML.replace("/", "-"), "con", "a\nb", "b" * 200)


@pytest.mark.parametrize(
    "name", [CLEAR, *(pytest.param(one, marks=pytest.mark.slow) for one in NAMES_OF_FILES)]
)
def test_file_of_any_name_is_data(place: Path, name: str) -> None:
    shutil.copy("notes.txt", f"{name}.txt")
    searched = ("search", "tiny.yaml", "--data", f"{name}.txt", "--name", "other")
    status, out, err = run(*searched)
    assert (status, err) == (0, "")
    assert not CONTROL & set(out)
    assert nas.open_study("other").config["task"]["data"].endswith(f"{name}.txt")
    Path(f"{name}.txt").write_text("other words " * 900)
    status, out, err = run(*searched, "--candidates", "2")
    assert (status, err.count("\n")) == (2, 1)
    assert "has changed since the study began" in err
    assert not CONTROL & set(err)


def test_rm_deletes_nothing_outside_the_studies_folder(place: Path) -> None:
    outside = place.parent / "other"
    shutil.copytree(place / "studies" / "tiny", outside)
    shutil.copytree(outside, place / "copy")
    (place / "studies" / "way").symlink_to(place.parent)
    before = files_of(place.parents[1])
    for name in ("../other", "studies/../../other", str(outside), "copy", "./copy",
                 "studies/way/other", "../other/study.db", "../place/copy"):  # fmt: skip
        status, _, err = run("rm", name, "--yes")
        assert status == 2, name
        assert "lies outside studies, where nothing is deleted" in err, err
        assert "NAS_STUDIES=" in err
    assert files_of(place.parents[1]) == before
    assert run("rm", "studies/../studies/tiny", "--yes")[0] == 0
    assert not (place / "studies" / "tiny").exists()


def test_rm_follows_no_link(place: Path) -> None:
    """Neither one to a study, nor one within a study, nor a database that lies elsewhere."""
    treasure = place / "treasure"
    treasure.mkdir()
    (treasure / "thesis.tex").write_text("years of work")
    (place / "studies" / "link").symlink_to(place / "studies" / "tiny")
    for name in ("link", "studies/link", "studies/link/study.db"):
        assert run("rm", name, "--yes")[0] == 2
    assert (place / "studies" / "tiny" / "study.db").exists()
    shutil.rmtree("studies/tiny/models")
    Path("studies/tiny/models").symlink_to(treasure)
    shutil.move("studies/tiny/study.db", treasure / "study.db")
    Path("studies/tiny/study.db").symlink_to(treasure / "study.db")
    assert run("rm", "tiny", "--yes")[0] == 0
    assert sorted(path.name for path in treasure.iterdir()) == ["study.db", "thesis.tex"]
    assert not (place / "studies" / "tiny").exists()


def test_search_deletes_nothing_that_is_not_its_own_through_a_link(place: Path) -> None:
    """A study that came from elsewhere, with links in place of its folders."""
    treasure = place / "treasure"
    for name in ("models", "checkpoints"):
        shutil.move(f"studies/tiny/{name}", treasure / name)
        (treasure / name / "thesis").mkdir()
        (treasure / name / "thesis" / "thesis.tex").write_text("years of work")
        (treasure / name / "letter.txt").write_text("to a friend")
        Path(f"studies/tiny/{name}").symlink_to(treasure / name)
    before = files_of(treasure)
    nas.search("tiny.yaml", overrides={"stop.candidates": 2})
    assert before.items() <= files_of(treasure).items()


def altered(statement: str, *values: object) -> None:
    with closing(sqlite3.connect("studies/tiny/study.db")) as database, database:
        database.execute(statement, values)


CHECKPOINT = {"sha256": "00", "bytes": 1, "tokens": 64}


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE nas_model SET path = ?", "../../victim"),
        ("UPDATE nas_model SET path = ?", "models/.."),
        ("UPDATE nas_model SET path = ?", "models/../../../victim"),
        ("UPDATE nas_model SET path = ?", "/etc"),
        (
            "UPDATE nas_candidate SET checkpoint = ?",
            json.dumps({**CHECKPOINT, "uri": "../../victim/thesis.tex"}),
        ),
        (
            "UPDATE nas_candidate SET checkpoint = ?",
            json.dumps({**CHECKPOINT, "uri": "checkpoints/../../../victim/thesis.tex"}),
        ),
    ],
)
def test_paths_in_a_database_lead_nowhere_else(place: Path, statement: str, value: str) -> None:
    """What an altered database names is neither loaded nor deleted."""
    victim = place / "victim"
    victim.mkdir()
    (victim / "thesis.tex").write_text("years of work")
    altered(statement, value)
    with pytest.raises(StoreError, match="the database was altered"):
        nas.search("tiny.yaml", overrides={"stop.candidates": 2, "keep": 1})
    with pytest.raises(StoreError, match="the database was altered"):
        nas.load("tiny")
    assert (victim / "thesis.tex").read_text() == "years of work"


def test_candidate_of_a_database_is_no_path(place: Path) -> None:
    with closing(sqlite3.connect("studies/tiny/study.db")) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        for table in ("nas_candidate", "nas_evaluation", "nas_metric", "nas_model"):
            database.execute(f"UPDATE {table} SET candidate_id = '../../victim'")
        database.execute("UPDATE nas_candidate SET state = 'interrupted'")
    with pytest.raises(StoreError, match="the database was altered"):
        nas.search("tiny.yaml", overrides={"stop.candidates": 2})
    assert not (place / "victim").exists()


def test_what_a_database_says_is_shown_and_does_nothing(place: Path) -> None:
    altered("UPDATE nas_candidate SET error = ?, traceback = ?", CLEAR + HTML, f"line\n{CLEAR}")
    altered("UPDATE nas_architecture SET shape = json_set(shape, '$.' || ?, ?)", '"<b>"', CLEAR)
    for command in (("trials", "tiny"), ("trials", "tiny", "--columns", "error,shape"),
                    ("show", "tiny"), ("best", "tiny")):  # fmt: skip
        _, out, err = run(*command)
        assert out + err
        assert not CONTROL & set(out + err), command
    _, out, _ = run("trials", "tiny", "--format", "json")
    assert json.loads(out)[0]["error"] == CLEAR + HTML, "exact for programs"
    assert not CONTROL & set(out)


@pytest.mark.parametrize("labels", [(HTML, CLEAR, "../x", LONG)])
def test_labels_of_any_name_come_out_as_they_are(tmp_path: Path, labels: tuple[str, ...]) -> None:
    spec = TaskSpec(
        task="text_classification", head="classify", vocab_size=257, context=16, labels=labels
    )
    shape = architecture("bert", n_layer=1, d_model=16, n_head=2, d_ff=16)
    source = tmp_path / "tokenizer"
    source.mkdir()
    write_byte_tokenizer(source, 16)
    fresh = build(shape, spec, seed=1)
    folder = tmp_path / "model"
    write_model(folder, fresh.state_dict(), fresh.manifest, processor_dir=source)
    config = json.loads((folder / "config.json").read_text())
    assert tuple(config["id2label"].values()) == labels
    model = nas.load(folder, verify=True, device="cpu")
    assert {one.label for one in model.predict("a text", top_k=4)} == set(labels)
    status, out, _ = run("predict", str(folder), "a text", CLEAR, "--top", "4")
    assert status == 0
    assert not CONTROL & set(out)
    assert "\\x1b[2J" in out
    status, out, _ = run("predict", str(folder), "a text", "--top", "4", "--format", "json")
    assert {row["label"] for row in json.loads(out)} == set(labels)
    assert "<script>" not in (folder / "README.md").read_text()


def test_card_shows_names_as_text(tmp_path: Path) -> None:
    spec = TaskSpec(task=f"a|b {HTML}", head="causal_lm", vocab_size=257, context=16)
    shape = architecture("llama", n_layer=1, d_model=16, n_head=2, d_ff=16)
    manifest = replace(
        build(shape, spec, seed=1).manifest,
        candidate_id=f"{HTML}\n# heading",
        study=f"`{HTML}`\n\n[a](javascript:x)",
        recipe=Recipe(context=16, batch=4, rate=0.1),
        metrics={f"{HTML}|": {f"[x](y)\n| {CLEAR}": 1.0}},
        base={"candidate_id": f"``{HTML}``"},
    )
    card = model_card(manifest, None)
    assert not CONTROL & set(card)
    assert "\n# heading" not in card
    assert "[x](y)" not in card
    outside_code = "".join(part for number, part in enumerate(card.split("`")) if not number % 2)
    assert "<" not in outside_code
    assert "](" not in outside_code
    [row] = [line for line in card.splitlines() if "1.0000" in line]
    assert row.count("|") == 4


def test_a_person_sees_control_characters_and_a_program_gets_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.exact(CLEAR)
    assert capsys.readouterr().out == f"{CLEAR}\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    terminal.exact(CLEAR)
    terminal.say(CLEAR)
    shown = capsys.readouterr().out
    assert not (CONTROL - {"\x1b"}) & set(shown)
    assert "\x1b[2J" not in shown
    assert shape_words({"n_layer": 2, "<b>": CLEAR}).startswith("2L <b>=\\x1b[2J")


def test_unknown_command_is_answered_without_its_control_characters() -> None:
    status, out, err = run(CLEAR)
    assert status == 2
    assert not CONTROL & set(out + err)


def test_data_folder_with_hostile_classes_is_prepared(tmp_path: Path) -> None:
    from PIL import Image

    from nas.data import DataRequest, Split
    from nas.tasks import task_class

    names = (HTML.replace("/", "-"), CLEAR, "b" * 200, "con")
    for number, name in enumerate(names):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for copy in range(12):
            place = tmp_path / "pictures" / name / f"{copy}.png"
            Image.new("L", (8, 8), 40 * number + copy).save(place)
    kind = task_class("image_classification")
    options = {key: option.default for key, option in kind.options.items()}
    request = DataRequest.of(
        str(tmp_path / "pictures"), split=Split(train=0.8, val=0.2, test=0.0), context=1,
        options=options,
    )  # fmt: skip
    prepared = kind.prepare(request, tmp_path / "data")
    assert sorted(prepared.spec.labels) == sorted(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "pictures"]


def test_errors_of_python_name_things_in_one_line() -> None:
    with pytest.raises(NasError) as refused:
        nas.open_study(LONG)
    assert "\n" not in str(refused.value)
