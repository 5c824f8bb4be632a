"""Raw inputs in, labels out: as the task measures, whatever else is in the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from stand_ins import build
from task_cases import CASES, request_for

from nas.artifact.writing import write_model
from nas.data.rows import Ragged
from nas.errors import DataError, InputError
from nas.model import load_folder
from nas.predicting import Prediction
from nas.tasks import task_class

ANSWERING = [name for name in CASES if name != "language_modeling"]


class Ready:
    """A model with drawn weights in a folder of its own, and the data that it fits."""

    def __init__(self, name, folder, **changes):
        folder.mkdir(parents=True, exist_ok=True)
        self.case, self.source = CASES[name], CASES[name].source(folder)
        kind = task_class(name)
        self.prepared = kind.prepare(request_for(name, self.source, **changes), folder / "data")
        fresh = build(self.case.shape, self.prepared.spec, seed=1)
        processor = self.prepared.folder
        place = folder / "model"
        write_model(place, fresh.state_dict(), fresh.manifest, processor_dir=processor)
        self.model = load_folder(place, device="cpu")
        self.task = kind(self.prepared, self.case.recipe(), 0)

    def evaluate(self):
        with torch.no_grad():
            return self.task.evaluate(self.model.network, "val", max_tokens=1 << 30)

    def rows(self, name):
        return [row.tolist() for row in Ragged(self.prepared, name)]

    def words(self, rows):
        return self.model.tokenizer.decode_batch(rows, skip_special_tokens=True)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            made[name] = Ready(name, tmp_path_factory.mktemp(name))
        return made[name]

    return make


def inputs_of(ready):
    """Raw inputs of the validation split, of unequal lengths."""
    task = ready.prepared.spec.task
    if task == "image_classification":
        return list(ready.prepared.array("val.pixels"))
    if task == "sequential_recommendation":
        name = ready.model.tokenizer.id_to_token
        return [[name(token) for token in row[:-1]] for row in ready.rows("val")]
    side = "val.source" if task == "sequence_to_sequence" else "val"
    return ready.words(ready.rows(side))


@pytest.mark.parametrize("name", ANSWERING)
def test_an_answer_does_not_depend_on_its_batch(ready, name):
    model, inputs = ready(name).model, inputs_of(ready(name))[:9]
    together = model.predict(inputs, batch=4)
    alone = [model.predict(one) for one in inputs]
    assert len({len(one) for one in inputs}) > 1 or name == "image_classification"
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, str):
            assert one == other
            continue
        first, second = (
            [found] if isinstance(found, Prediction) else found for found in (one, other)
        )
        for a, b in zip(first, second, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)
            assert a.label == b.label


@pytest.mark.parametrize("name", ["text_classification", "image_classification"])
def test_labels_are_those_that_the_task_measures(ready, name):
    case = ready(name)
    labels = case.prepared.array("val.labels")
    found = case.model.predict(inputs_of(case))
    right = [
        one.label == case.prepared.spec.labels[label]
        for one, label in zip(found, labels, strict=True)
    ]
    assert np.mean(right) == pytest.approx(case.evaluate()["accuracy"])
    ranked = case.model.predict(inputs_of(case)[0], top_k=99)
    assert sorted(one.label for one in ranked) == sorted(case.prepared.spec.labels)
    assert sum(one.score for one in ranked) == pytest.approx(1)
    assert ranked[0].label == found[0].label


def test_items_are_those_that_the_task_measures(ready):
    case = ready("sequential_recommendation")
    right = [case.model.tokenizer.id_to_token(row[-1]) for row in case.rows("val")]
    found = case.model.predict(inputs_of(case), top_k=99, exclude_seen=False)
    scores = [{one.label: one.score for one in ranked} for ranked in found]
    loss = -np.mean([np.log(row[item]) for row, item in zip(scores, right, strict=True)])
    assert loss == pytest.approx(case.evaluate()["loss"], rel=1e-5)
    assert all("<pad>" not in row for row in scores)


def test_items_of_the_history_are_left_out_unless_asked_for(ready):
    case = ready("sequential_recommendation")
    history = inputs_of(case)[0]
    unseen = case.model.predict(history)
    assert not {one.label for one in unseen} & set(history)
    every = case.model.predict([history], top_k=12, exclude_seen=False)[0]
    assert set(history) <= {one.label for one in every}
    assert [one.score for one in every] == sorted((one.score for one in every), reverse=True)


def test_a_text_is_written_as_the_task_writes_it(ready, monkeypatch):
    import sacrebleu

    case, written = ready("sequence_to_sequence"), []
    score = sacrebleu.corpus_bleu
    monkeypatch.setattr(
        sacrebleu, "corpus_bleu", lambda ours, right: written.append(ours) or score(ours, right)
    )
    case.evaluate()
    found = case.model.predict(inputs_of(case))
    # A measurement's limit is that of the longest source beside it.
    assert all(ours.startswith(one) for one, ours in zip(found, written[0], strict=True))


@pytest.mark.parametrize("how", ["truncate", "truncate_left", "chunk"])
def test_a_long_text_is_read_as_the_model_was_trained_to(tmp_path, how):
    case = Ready("text_classification", tmp_path, context=8, options={"long_inputs": how})
    text = "red blue green warm never cold tall short round flat always loud calm"
    ids = case.model.tokenizer.encode(text, add_special_tokens=False).ids
    parts = {"truncate": [ids[:6]], "truncate_left": [ids[-6:]]}
    parts["chunk"] = [ids[start : start + 6] for start in range(0, len(ids), 6)]
    with torch.no_grad():
        rows = [case.model(torch.tensor([[1, *part, 2]])) for part in parts[how]]
    logits = torch.cat(rows)
    best = float(logits.mean(dim=0).softmax(dim=0).max())
    assert case.model.predict(text).score == pytest.approx(best, abs=1e-5)


def test_every_form_of_an_image_gives_the_same(ready, tmp_path):
    case = ready("image_classification")
    array = np.asarray(case.prepared.array("val.pixels")[0])
    Image.fromarray(array[..., 0]).save(tmp_path / "one.png")
    tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
    forms = [
        tmp_path / "one.png",
        str(tmp_path / "one.png"),
        Image.open(tmp_path / "one.png"),
        array,
        array[..., 0],
        array.repeat(3, axis=2),
        tensor,
        tensor.float() / 255,
        array.astype(np.int64),
    ]
    found = [case.model.predict(form) for form in forms]
    assert len(set(found)) == 1
    for together in (case.model.predict(forms), case.model.predict(np.stack([array, array]))):
        for one, alone in zip(together, found, strict=False):
            assert one.label == alone.label
            assert one.score == pytest.approx(alone.score, abs=1e-6)  # sums of a batch may differ
    large = Image.open(tmp_path / "one.png").resize((16, 16), Image.Resampling.NEAREST)
    small = np.asarray(large.resize((8, 8), Image.Resampling.BILINEAR))
    assert case.model.predict(large) == case.model.predict(small)


def test_pixels_are_scaled_as_the_preprocessor_says(ready):
    case = ready("image_classification")
    model, array = case.model, np.asarray(case.prepared.array("val.pixels")[0])
    with torch.no_grad():
        logits = model(torch.from_numpy(array.transpose(2, 0, 1)[None] / 127.5 - 1).float())
    best = float(logits.softmax(dim=1).max())
    assert model.predict(array).score == pytest.approx(best, abs=1e-6)


def test_a_model_of_language_is_asked_to_generate(ready):
    with pytest.raises(InputError, match="goes on with a text: use generate"):
        ready("language_modeling").model.predict("The ")


def test_nothing_in_nothing_out_and_training_stays_as_it_was(ready):
    model = ready("text_classification").model
    assert model.predict([]) == []
    model.train()
    model.predict("red")
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("text_classification", ["red", " "], "input 2: is empty"),
        ("text_classification", ["red", 3], "input 2: got int, expected a text"),
        ("text_classification", 3, "predict: got int, expected an input or a list"),
        ("text_classification", "half \ud800", "input 1: character 6 is half of one"),
        ("sequence_to_sequence", "", "input 1: is empty"),
        ("image_classification", "no.png", "no.png: not a readable image"),
        ("image_classification", [3], "input 1: got int, expected a path"),
        ("image_classification", np.zeros((2, 8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        ("image_classification", np.full((8, 8), 7.0), "float64 beyond their range"),
        ("image_classification", np.full((8, 8), np.nan), "float64 beyond their range"),
        ("sequential_recommendation", ["item1", "itm2"], "know the item 'itm2'; did you mean"),
        ("sequential_recommendation", ["item1", "<pad>"], "does not know the item '<pad>'"),
        ("sequential_recommendation", [["item1"], []], "input 2: is an empty history"),
        ("sequential_recommendation", "item1", "input 1: got str, expected a history"),
        ("sequential_recommendation", [["item1"], [2.5]], "input 2: got an item of float"),
    ],
)
def test_a_bad_input_is_refused_in_one_line(ready, name, inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        ready(name).model.predict(inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"batch": 0}, {"top_k": 0}, {"top_k": True}])
def test_arguments_out_of_range_are_refused(ready, arguments):
    with pytest.raises(InputError, match="expected an integer >= 1"):
        ready("text_classification").model.predict("red", **arguments)


def test_top_k_of_written_texts_is_refused(ready):
    with pytest.raises(InputError, match="writes one text"):
        ready("sequence_to_sequence").model.predict("red", top_k=2)


def test_a_model_without_its_tokenizer_says_so(ready):
    spec = ready("text_classification").prepared.spec
    with pytest.raises(InputError, match="has no tokenizer for raw inputs"):
        build(CASES["text_classification"].shape, replace(spec, vocab_size=9)).predict("red")


def test_a_damaged_preprocessor_is_refused(ready, monkeypatch):
    model = ready("image_classification").model
    monkeypatch.setitem(model.__dict__, "preprocessor", '{"image_mean": 1}')
    with pytest.raises(DataError, match=r"preprocessor_config\.json: damaged"):
        model.predict(np.zeros((8, 8), np.uint8))
