"""`nas predict`, `nas generate` on files and `nas finetune`, on models with drawn weights."""

import csv
import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image
from stand_ins import build
from task_cases import CASES, request_for

from nas.artifact.writing import write_model
from nas.model import load_folder
from nas.tasks import task_class

NAMES = [name for name in CASES if name != "language_modeling"]
TEXTS = ["red blue", "always warm and tall", 'a "quoted", text', "never"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder for each task, with its source beside it."""
    found = {}
    for name in CASES:
        folder = tmp_path_factory.mktemp(name)
        source = CASES[name].source(folder)
        prepared = task_class(name).prepare(request_for(name, source), folder / "data")
        fresh = build(CASES[name].shape, prepared.spec, seed=1)
        write_model(
            folder / "model", fresh.state_dict(), fresh.manifest, processor_dir=prepared.folder
        )
        found[name] = folder
    return found


@pytest.fixture
def piped(monkeypatch):
    """Put text on standard input."""

    def pipe(text):
        content = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return pipe


def rows_of(found):
    return list(csv.DictReader(io.StringIO(found.out)))


def test_texts_on_the_command_line_get_what_the_model_says(nas, folders):
    folder = folders["text_classification"] / "model"
    found = nas("predict", folder, *TEXTS, "--format", "json")
    assert found.code == 0
    expected = load_folder(folder, device="cpu").predict(TEXTS)
    rows = json.loads(found.out)
    assert [row["input"] for row in rows] == TEXTS
    assert [row["label"] for row in rows] == [one.label for one in expected]
    assert [row["score"] for row in rows] == pytest.approx([one.score for one in expected])
    assert str(folder) in found.err


def test_a_table_fits_the_terminal(nas, folders):
    found = nas("predict", folders["text_classification"] / "model", "red", "long text " * 40)
    lines = found.out.splitlines()
    assert lines[0].split() == ["label", "score", "input"]
    assert max(map(len, lines)) <= 80
    assert lines[2].endswith("...")
    assert (
        len({line.index(text) for line, text in zip(lines[1:], ("red", "long"), strict=True)}) == 1
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_every_source_of_texts_gives_the_same(nas, folders, piped, tmp_path, batch):
    folder = folders["text_classification"] / "model"
    (tmp_path / "lines.txt").write_text("\n\n".join(TEXTS) + "\n\n", encoding="utf-8")
    with gzip.open(tmp_path / "lines.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\ufeff" + "\r\n".join(TEXTS))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "review"), *(("?", text) for text in TEXTS)])
    lines = [json.dumps({"body": text, "other": [1]}) for text in TEXTS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    usual = ("predict", folder, "--format", "csv", "--batch", batch)
    expected = rows_of(nas("predict", folder, *TEXTS, "--format", "csv"))
    assert [row["input"] for row in expected] == TEXTS
    for given in (
        ("--file", tmp_path / "lines.txt"),
        ("--file", tmp_path / "lines.txt.gz"),
        ("--file", tmp_path / "rows.csv"),
        ("--file", tmp_path / "rows.jsonl", "--column", "body"),
        (),
        ("-",),
        ("--file", "-"),
    ):
        piped("\n".join(TEXTS))
        found = nas(*usual, *given)
        assert found.code == 0, found.err
        rows = rows_of(found)
        assert [(row["input"], row["label"]) for row in rows] == [
            (row["input"], row["label"]) for row in expected
        ]


def test_a_file_is_answered_part_by_part(nas, folders, tmp_path, monkeypatch):
    folder = folders["text_classification"] / "model"
    (tmp_path / "many.txt").write_text("red\n" * 20 + "\ufffe \x00\n")
    written = []
    monkeypatch.setattr("nas.cli.tables.RowStream.write", lambda _, rows: written.append(len(rows)))
    nas("predict", folder, "--file", tmp_path / "many.txt", "--batch", 1)
    assert written[:3] == [8, 8, 5]


def test_top_gives_ranks(nas, folders):
    found = nas("predict", folders["text_classification"] / "model", "red", "--top", 2,
                "--format", "json")  # fmt: skip
    rows = json.loads(found.out)
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["score"] >= rows[1]["score"]


def test_pictures_and_folders_of_them(nas, folders, tmp_path):
    folder = folders["image_classification"] / "model"
    (tmp_path / "photos" / "more").mkdir(parents=True)
    pixels = np.load(folders["image_classification"] / "images.npz")["x"][:3, ..., 0]
    paths = [tmp_path / "photos" / name for name in ("a.png", "b.png", "more/c.png")]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    rows = rows_of(nas("predict", folder, tmp_path / "photos", "--format", "csv"))
    expected = load_folder(folder, device="cpu").predict(list(pixels))
    assert [(row["input"], row["label"]) for row in rows] == [
        (str(path), one.label) for path, one in zip(paths, expected, strict=True)
    ]
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)))
    again = rows_of(nas("predict", folder, "--file", tmp_path / "list.txt", "--format", "csv"))
    assert again == rows


def test_histories_and_logs(nas, folders, tmp_path):
    folder = folders["sequential_recommendation"] / "model"
    one = rows_of(nas("predict", folder, "item1, item2", "--top", 3, "--format", "csv"))
    assert [row["rank"] for row in one] == ["1", "2", "3"]
    assert not {row["label"] for row in one} & {"item1", "item2"}
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\nann,item2,2\nbob,item7,1\nann,item1,1\n")
    rows = rows_of(nas("predict", folder, "--file", log, "--top", 3, "--format", "csv"))
    assert [row["input"] for row in rows] == ["ann"] * 3 + ["bob"] * 3
    assert [row["label"] for row in rows[:3]] == [row["label"] for row in one]
    seen = rows_of(nas("predict", folder, "item1", "--top", 12, "--seen", "--format", "csv"))
    assert "item1" in {row["label"] for row in seen}


def test_a_text_for_a_text(nas, folders):
    folder = folders["sequence_to_sequence"] / "model"
    rows = json.loads(nas("predict", folder, "red blue", "--format", "json").out)
    assert rows == [
        {"input": "red blue", "output": load_folder(folder, device="cpu").predict("red blue")}
    ]


def test_nothing_in_is_nothing_out(nas, folders, piped):
    folder = folders["text_classification"] / "model"
    for form, expected in (
        ("json", "[]"),
        ("csv", "input,label,score"),
        ("table", "label  score  input"),
    ):
        piped("\n")
        assert nas("predict", folder, "--format", form).out.strip() == expected


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("text_classification", ("red", "--file", "x.txt"), "got inputs and --file"),
        ("text_classification", ("--file", "none.txt"), "none.txt: no such file"),
        ("text_classification", ("red", "  "), "input 2: is empty"),
        ("text_classification", ("--file", "bad.txt", "--batch", 64), "not whole UTF-8"),
        ("text_classification", ("--file", "cut.txt.gz"), "cut.txt.gz: cannot be read on"),
        ("text_classification", ("--file", "rows.csv"), "no column for the input"),
        ("text_classification", ("--file", "rows.csv", "--column", "bodi"), "did you mean 'body'"),
        ("text_classification", ("red", "--top", 0), "--top"),
        ("image_classification", ("no.png",), "no.png: not a readable image"),
        ("image_classification", (".",), "no pictures in this folder"),
        ("sequential_recommendation", ("item1, itm2",), "input 1: the model does not know"),
        ("sequential_recommendation", (",",), "input 1: is an empty history"),
        ("language_modeling", ("red",), "use generate (nas generate)"),
        ("sequence_to_sequence", ("red", "--top", 2), "writes one text"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(nas, folders, tmp_path, monkeypatch, name, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"red\n" * 3000 + b"\xff\n")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"red\n" * 999)[:-9])
    (tmp_path / "rows.csv").write_text("body,n\nred,1\n")
    found = nas("predict", folders[name] / "model", *arguments)
    assert found.code == 2
    last = found.err.strip().splitlines()[-1]
    assert last.startswith("nas: ")
    assert message in last


def test_an_input_is_counted_from_the_beginning_of_the_file(nas, folders, tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("item1\n" * 20 + "socks\n")
    found = nas("predict", folders["sequential_recommendation"] / "model", "--file", path,
                "--batch", 1)  # fmt: skip
    assert "input 21: the model does not know the item 'socks'" in found.err


def test_prompts_of_a_file_go_on_as_each_does_by_itself(nas, folders, piped, tmp_path):
    folder = folders["language_modeling"] / "model"
    usual = ("generate", folder, "--max-new-tokens", 5, "--seed", 1)
    alone = [nas(*usual, "--prompt", text).out for text in ("The ", "A sun")]
    piped("The\nA sun\n")
    rows = json.loads(nas(*usual, "--file", "-", "--format", "json").out)
    assert [row["prompt"] for row in rows] == ["The", "A sun"]
    assert rows[1]["text"] + "\n" == alone[1]
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "The "}\n{"prompt": "A sun"}\n')
    found = nas(*usual, "--file", tmp_path / "prompts.jsonl")
    assert found.out == f"{alone[0]}\n{alone[1]}"
    table = nas(*usual, "--file", tmp_path / "prompts.jsonl", "--format", "csv")
    assert [row["text"] + "\n" for row in rows_of(table)] == alone
    both = nas(*usual, "--prompt", "The ", "--file", "-")
    assert both.code == 2
    assert "got --prompt and --file" in both.err


def test_finetune_writes_a_folder_that_predicts(nas, folders, tmp_path):
    folder, out = folders["text_classification"], tmp_path / "tuned"
    found = nas("finetune", folder / "model", "--data", folder / "labelled.csv", "--out", out,
                "--epochs", 2, "--rate", 0.02, "--set", "recipe.precision=fp32",
                "--set", "split.train=0.8", "--set", "split.val=0.2",
                "--set", "split.test=0")  # fmt: skip
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == str(folder / "model")
    assert [line.split()[0:2] for line in lines[2:4]] == [["val", "before"], ["val", "after"]]
    assert f"nas.load('{out}')" in found.out
    assert nas("predict", out, "always red").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", 1, "--tokens", 9), "got epochs and tokens"),
        (("--set", "stop.minutes=1"), "expected a key of task, recipe, split"),
        (("--set", "recipe.bach=1"), "recipe.bach"),
        (("--head", "old"), "head: got 'old'"),
        (("--out", "."), "holds something that is not a model"),
    ],
)
def test_mistakes_of_finetune_are_one_line(nas, folders, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    folder = folders["text_classification"]
    given = ("finetune", folder / "model", "--data", folder / "labelled.csv", "--out", "tuned")
    found = nas(*given, *arguments)
    assert found.code == 2
    assert message in found.err.strip().splitlines()[-1]
    assert not (tmp_path / "tuned").exists()


def test_an_interrupted_finetune_leaves_nothing(nas, folders, tmp_path, monkeypatch):
    folder, out = folders["text_classification"], tmp_path / "tuned"

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.training.loop.Training.step", stop)
    found = nas("finetune", folder / "model", "--data", folder / "labelled.csv", "--out", out)
    assert found.code == 130
    assert not out.exists()
