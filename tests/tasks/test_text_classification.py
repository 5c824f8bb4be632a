"""Long texts, labels, and what a classifier of texts can be given wrong."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from task_cases import CASES, request_for
from torch import nn

from nas.artifact import Manifest
from nas.artifact.writing import write_model
from nas.data import PreparedData
from nas.data.rows import Ragged
from nas.data.text_classification import CLS, SEP, cut_text
from nas.errors import DataError
from nas.model import load_folder
from nas.tasks.text_classification import TextClassification
from nas.training.loop import fresh_network

NAME = "text_classification"


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def prepare(folder: Path, rows: list[tuple[str, str]], **changes) -> PreparedData:
    source = write(folder / "rows.csv", rows)
    return TextClassification.prepare(request_for(NAME, source, **changes), folder / "data")


@pytest.mark.parametrize(
    ("how", "overlap", "pieces"),
    [
        ("truncate", 0, [[1, 2, 3, 4]]),
        ("truncate_left", 0, [[6, 7, 8, 9]]),
        ("chunk", 0, [[1, 2, 3, 4], [5, 6, 7, 8], [9]]),
        ("chunk", 2, [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8], [7, 8, 9]]),
        ("chunk", 3, [[n, n + 1, n + 2, n + 3] for n in range(1, 7)]),
    ],
)
def test_a_long_text_is_cut_as_asked(how, overlap, pieces):
    options = {"long_inputs": how, "chunk_overlap": overlap}
    found = list(cut_text(options, list(range(1, 10)), context=6))
    assert found == [[CLS, *piece, SEP] for piece in pieces]


@pytest.mark.parametrize("how", ["truncate", "truncate_left", "chunk"])
@pytest.mark.parametrize("length", [0, 1, 3, 4])
def test_a_short_text_is_one_whole_input(how, length):
    options = {"long_inputs": how, "chunk_overlap": 1}
    assert list(cut_text(options, [7] * length, context=6)) == [[CLS, *[7] * length, SEP]]


@pytest.mark.parametrize("how", ["truncate", "truncate_left"])
def test_stored_tokenizer_reads_a_text_as_training_did(tmp_path, how):
    from transformers import AutoTokenizer

    texts = ["Hello  World", "", "many words " * 40, "[SEP] is [CLS] text", "漢字 🙂\n\ttab"] * 8
    rows = [(text, "ab"[number % 2]) for number, text in enumerate(texts)]
    prepared = prepare(tmp_path, rows, options={"long_inputs": how})
    tokenizer = AutoTokenizer.from_pretrained(prepared.folder)
    state = fresh_network(CASES[NAME].shape, prepared.spec, 0).state_dict()
    manifest = Manifest(architecture=CASES[NAME].shape, task_spec=prepared.spec)
    write_model(tmp_path / "model", state, manifest, processor_dir=prepared.folder)
    ours = load_folder(tmp_path / "model").tokenizer
    assert ours.encode(texts[3]).ids == tokenizer(texts[3])["input_ids"]
    found = Ragged(prepared, "train")
    for row, number in enumerate(prepared.info.split.rows(len(texts))["train"]):
        ids = tokenizer(texts[number], truncation=True)["input_ids"]
        assert ids == found[row].tolist(), texts[number]


class Sum(nn.Module):
    """Logits that tell which tokens were read: for class 1 the mean of the ids, for 0 none."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, ids, mask):
        mean = (ids * mask).sum(dim=1) / mask.sum(dim=1) * self.weight
        return torch.stack((torch.zeros_like(mean), mean), dim=1)


def test_logits_of_a_text_are_the_mean_of_its_pieces(tmp_path):
    long, short = "abcdefghij" * 5, "xyz"
    rows = [(long, "a"), (short, "b")] * 20
    options = {"tokenizer": "bytes", "long_inputs": "chunk", "chunk_overlap": 2}
    prepared = prepare(tmp_path, rows, context=12, options=options)
    task = TextClassification(prepared, CASES[NAME].recipe(context=12), 0)
    labels = prepared.array("val.labels")
    with torch.no_grad():
        logits = task._logits(Sum(), "val", np.arange(len(labels)))
    ids = {text: [4 + byte for byte in text.encode()] for text in (long, short)}
    for row, label in enumerate(labels):
        text = long if label == 0 else short
        pieces = list(cut_text(options, ids[text], context=12))
        expected = np.mean([np.mean(piece) for piece in pieces])
        assert logits[row, 1] == pytest.approx(expected, rel=1e-5)


def test_long_texts_can_be_learned_from_their_end_only_by_reading_it(tmp_path):
    rng = random.Random(0)
    rows = []
    for number in range(400):
        noise = " ".join(rng.choices(["red", "blue", "green"], k=20))
        rows.append((f"{noise} {('never', 'always')[number % 2]}", "ny"[number % 2]))
    accuracy = {}
    for how in ("truncate", "truncate_left", "chunk"):
        folder = tmp_path / how
        folder.mkdir()
        options = {"tokenizer": "bpe", "vocab_size": 300, "long_inputs": how}
        prepared = prepare(folder, rows, context=12, options=options)
        accuracy[how] = learned(prepared)["accuracy"]
    assert accuracy["truncate_left"] > 0.9
    assert accuracy["chunk"] > 0.9
    assert accuracy["truncate"] < 0.75


def learned(prepared: PreparedData, steps: int = 150) -> dict[str, float]:
    recipe = CASES[NAME].recipe(context=prepared.spec.context)
    task = TextClassification(prepared, recipe, 0)
    network = fresh_network(CASES[NAME].shape, prepared.spec, 0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for step in range(steps):
        optimizer.zero_grad()
        task.loss(network, task.batch(step)).backward()
        optimizer.step()
    with torch.no_grad():
        return dict(task.evaluate(network.eval(), "test", max_tokens=10**9))


def test_shuffled_labels_teach_nothing(tmp_path):
    """The test split is not leaked: what was learned by heart is worth chance there."""
    rng = random.Random(1)
    words = ["red", "blue", "green", "warm", "cold", "tall", "short", "round"]
    rows = [(" ".join(rng.choices(words, k=8)), "ab"[number % 2]) for number in range(1200)]
    labels = [label for _, label in rows]
    rng.shuffle(labels)
    shuffled = [(text, label) for (text, _), label in zip(rows, labels, strict=True)]
    found = learned(prepare(tmp_path, shuffled))
    # 180 test texts: chance is 1/2 with a standard deviation of .037
    assert 0.5 - 4 * 0.037 < found["accuracy"] < 0.5 + 4 * 0.037


def test_class_weights_are_inverse_to_how_often_a_class_occurs(tmp_path):
    rows = [(f"text {number}", "rare" if number % 10 == 0 else "usual") for number in range(400)]
    prepared = prepare(tmp_path, rows)
    task = TextClassification(prepared, CASES[NAME].recipe(class_weights="balanced"), 0)
    labels = prepared.array("train.labels")
    counts = np.bincount(labels)
    assert task._weights * counts == pytest.approx(len(labels) / 2)
    assert TextClassification(prepared, CASES[NAME].recipe(), 0)._weights is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(f"text {n}", "same") for n in range(40)], "every example of train is 'same'"),
        ([(f"text {n}", "ab"[n % 2]) for n in range(4)], "no example is left for"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, rows)


def test_labels_that_train_has_not_are_refused(tmp_path):
    train = write(tmp_path / "train.csv", [(f"text {n}", "ab"[n % 2]) for n in range(40)])
    test = write(tmp_path / "test.csv", [("text", "a"), ("more", "c"), ("most", "d")])
    with pytest.raises(DataError, match="the test split has the label 'c' and 1 more, which train"):
        TextClassification.prepare(
            request_for(NAME, {"train": train, "test": test}), tmp_path / "data"
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 2}, r"recipe\.context: got 2, a text needs at least 3"),
        (
            {"context": 8, "options": {"long_inputs": "chunk", "chunk_overlap": 6}},
            r"task\.chunk_overlap: got 6, at most context - 3 = 5",
        ),
        ({"options": {"text_column": "words"}}, "no column for the text; expected words"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, [(f"text {n}", "ab"[n % 2]) for n in range(40)], **changes)


def test_label_names_stand_in_the_native_config(tmp_path):
    prepared = prepare(tmp_path, [(f"text {n}", ("10", "9")[n % 2]) for n in range(40)])
    assert prepared.spec.labels == ("9", "10")
    from nas.families import shape_of

    config = shape_of(CASES[NAME].shape).native_config(prepared.spec)
    assert config["id2label"] == {"0": "9", "1": "10"} or config["id2label"] == {0: "9", 1: "10"}
    assert config["label2id"] == {"9": 0, "10": 1}
