"""A trained model goes on with new data: its tokenizer, a head for new classes, a frozen trunk."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from task_cases import CASES, request_for

import nas
from nas.artifact import read_manifest
from nas.artifact.writing import write_model
from nas.errors import ArtifactError, ConfigError, DataError, InputError
from nas.families import architecture
from nas.finetuning import finetune
from nas.model import build, load_folder
from nas.tasks import task_class

FP32 = {"precision": "fp32"}
QUICK = {"tokens": 1, "recipe": FP32}  # one step


def write_rows(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def base_of(name, folder, shape=None):
    """An untrained model in a folder, with the tokenizer of its task's data."""
    folder.mkdir(parents=True, exist_ok=True)
    case, source = CASES[name], CASES[name].source(folder)
    prepared = task_class(name).prepare(request_for(name, source), folder / "data")
    fresh = build(shape or case.shape, prepared.spec, seed=1)
    place = folder / "model"
    write_model(place, fresh.state_dict(), fresh.manifest, processor_dir=prepared.folder)
    return load_folder(place, device="cpu"), source


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A trained classifier of texts, and the file that it learned."""
    base, source = base_of("text_classification", tmp_path_factory.mktemp("classifier"))
    out = base.folder.parent / "trained"
    return finetune(base, source, out=out, epochs=6, rate=0.02, recipe=FP32), source


@pytest.fixture(scope="module")
def shouted(classifier, tmp_path_factory):
    """The same examples in other words, which the model was not trained on."""
    path = tmp_path_factory.mktemp("shifted") / "shouted.csv"
    with Path(classifier[1]).open(encoding="utf-8", newline="") as file:
        rows = [(text.upper(), label) for text, label in list(csv.reader(file))[1:]]
    return write_rows(path, ["text", "label"], rows)


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Examples of other classes, which differ in words that the model knows."""
    words = ("always", "never")
    rows = [(f"{words[n % 2]} {n}", ("cat", "dog")[n % 2]) for n in range(160)]
    path = tmp_path_factory.mktemp("animals") / "animals.csv"
    return write_rows(path, ["text", "label"], rows)


def test_shifted_data_are_learned_by_the_head_that_is_there(classifier, shouted, tmp_path):
    base, weights = classifier[0], {k: v.clone() for k, v in classifier[0].state_dict().items()}
    tuned = finetune(base, shouted, out=tmp_path / "tuned", epochs=4, recipe=FP32)
    before, after = tuned.metrics["val_before"], tuned.metrics["val"]
    assert after["loss"] < 0.9 * before["loss"]
    assert tuned.task_spec == base.task_spec
    assert all(torch.equal(weights[name], w) for name, w in base.state_dict().items())
    assert tuned.predict("ALWAYS RED WARM").label in base.task_spec.labels


@pytest.mark.slow
def test_the_result_is_a_whole_model_folder(classifier, shouted, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base, out = classifier[0], tmp_path / "tuned"
    tuned = finetune(base, shouted, out=out, **QUICK)
    again = nas.load(out, device="cpu", verify=True)
    assert all(torch.equal(a, b) for a, b in zip(
        again.state_dict().values(), tuned.state_dict().values(), strict=True))  # fmt: skip
    manifest = read_manifest(out)
    assert manifest.recipe.batch == 16
    assert manifest.data_fingerprint not in ("", base.manifest.data_fingerprint)
    assert manifest.base["weights"] == base.manifest.files["model.safetensors"].sha256
    assert set(manifest.metrics) == {"val_before", "val", "test"}
    assert "Fine-tuned from" in (out / "README.md").read_text()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (base.folder / name).read_bytes()
    native = AutoModelForSequenceClassification.from_pretrained(out).eval()
    text = AutoTokenizer.from_pretrained(out)("RED ALWAYS", return_tensors="pt")
    with torch.no_grad():
        scores = native(text["input_ids"], attention_mask=text["attention_mask"]).logits
    best = tuned.predict("RED ALWAYS")
    assert native.config.id2label[int(scores.argmax())] == best.label
    assert float(scores.softmax(dim=-1).max()) == pytest.approx(best.score, abs=1e-5)


def test_the_same_seed_gives_the_same_weights_and_nothing_is_written_unasked(classifier, animals):
    base, folder = classifier[0], classifier[0].folder.parent
    there = sorted(folder.iterdir())
    one, two, other = (finetune(base, animals, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert sorted(folder.iterdir()) == there
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name])
    key = "classifier.weight"
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])


def test_new_classes_get_a_new_head_and_the_trunk_stays_if_frozen(classifier, animals, tmp_path):
    base = classifier[0]
    tuned = finetune(base, animals, freeze_trunk=True, epochs=8, rate=0.02, recipe=FP32)
    assert tuned.task_spec.labels == ("cat", "dog")
    assert tuned.metrics["val"]["loss"] < tuned.metrics["val_before"]["loss"]
    changed = {
        name
        for name, weight in tuned.state_dict().items()
        if not torch.equal(weight, base.state_dict().get(name, weight[:0]))
    }
    assert changed == {"classifier.weight", "classifier.bias"}
    assert not any(w.grad is not None for w in tuned.parameters())
    assert [one.label for one in tuned.predict(["always 7", "never 8"])] == ["cat", "dog"]
    nas.save(tuned, tmp_path / "saved")
    assert load_folder(tmp_path / "saved", device="cpu").predict("red").label in ("cat", "dog")


def test_without_a_frozen_trunk_all_of_it_learns(classifier, animals):
    base = classifier[0]
    tuned = finetune(base, animals, **QUICK)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(tuned.state_dict()[name], base.state_dict()[name])


def test_a_head_is_kept_or_new_where_that_is_asked_for(classifier, shouted, tmp_path):
    base = classifier[0]
    rows = [(f"ALWAYS RED {n}", ("yes", "no")[n % 2]) for n in range(60)]
    some = write_rows(tmp_path / "some.csv", ["text", "label"], rows)
    assert finetune(base, some, **QUICK).task_spec.labels == ("no", "yes")
    assert finetune(base, some, head="keep", **QUICK).task_spec.labels == ("maybe", "no", "yes")
    fresh = finetune(base, shouted, head="new", rate=1e-8, **QUICK).state_dict()
    assert not torch.allclose(fresh["classifier.weight"], base.state_dict()["classifier.weight"])
    rows.append(("who knows", "perhaps"))
    more = write_rows(tmp_path / "more.csv", ["text", "label"], rows * 3)
    with pytest.raises(
        DataError, match="the label 'perhaps' is none of the model's, maybe, no, yes"
    ):
        finetune(base, more, head="keep", **QUICK)


@pytest.mark.parametrize(
    "name",
    [
        "language_modeling",
        "sequence_to_sequence",
        "image_classification",
        "sequential_recommendation",
    ],
)
def test_every_task_goes_on_with_its_own_tokenizer(tmp_path, name):
    base, source = base_of(name, tmp_path)
    tuned = finetune(
        base, source, out=tmp_path / "tuned", epochs=2, rate=CASES[name].rate, recipe=FP32
    )
    assert tuned.task_spec == base.task_spec
    assert tuned.metrics["val"]["loss"] < tuned.metrics["val_before"]["loss"]
    assert tuned.manifest.data_fingerprint
    for file in ("tokenizer.json", "preprocessor_config.json"):
        kept = base.folder / file
        assert not kept.exists() or (tmp_path / "tuned" / file).read_bytes() == kept.read_bytes()


def test_other_images_come_in_the_size_and_channels_of_the_model(tmp_path):
    base, _ = base_of("image_classification", tmp_path)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rgb.npz", x=rng.integers(0, 255, (60, 12, 12, 3), dtype=np.uint8),
             y=np.arange(60) % 2)  # fmt: skip
    tuned = finetune(base, tmp_path / "rgb.npz", **QUICK)
    assert (tuned.task_spec.image_size, tuned.task_spec.n_channel) == (8, 1)
    assert tuned.task_spec.labels == ("0", "1")


def test_learned_pairs_and_items_of_the_model_encode_the_new_data(tmp_path):
    base, _ = base_of("sequence_to_sequence", tmp_path / "pairs")
    rows = [("warm blue words unheard of", "blue")] * 40
    new = write_rows(tmp_path / "new.csv", ["source", "target"], rows)
    assert finetune(base, new, **QUICK).task_spec.vocab_size == base.task_spec.vocab_size
    items, _ = base_of("sequential_recommendation", tmp_path / "items")
    log = [(f"u{n}", f"item{m}", m) for n in range(6) for m in range(5)]
    few = write_rows(tmp_path / "few.csv", ["user", "item", "time"], log)
    assert finetune(items, few, **QUICK).task_spec == items.task_spec
    log += [("u9", "socks", 1), ("u9", "item1", 2), ("u9", "item2", 3)]
    other = write_rows(tmp_path / "other.csv", ["user", "item", "time"], log)
    with pytest.raises(DataError, match="the model does not know the item 'socks'"):
        finetune(items, other, **QUICK)


def test_an_interrupt_leaves_nothing_behind(classifier, shouted, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.training.loop.PROGRESS_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        finetune(classifier[0], shouted, out=tmp_path / "out", report=stop, recipe=FP32)
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_progress_is_reported_with_the_budget(classifier, shouted, monkeypatch):
    told = []
    monkeypatch.setattr("nas.training.loop.PROGRESS_SECONDS", 0)
    finetune(classifier[0], shouted, examples=64, recipe=FP32, report=lambda *one: told.append(one))
    assert [(progress.tokens, budget) for progress, budget in told][-1] == (64 * 24, 64 * 24)


def test_a_rate_beyond_all_measure_fails_in_one_line(classifier, shouted):
    with pytest.raises(nas.NasError, match="lower rate than 10") as caught:
        finetune(classifier[0], shouted, rate=10.0, epochs=5, recipe=FP32 | {"clip": 1000.0})
    assert "\n" not in str(caught.value)


def test_a_tied_head_cannot_learn_beside_a_frozen_trunk(tmp_path):
    shape = architecture("gpt2", n_layer=1, d_model=16, n_head=2, d_ff=16)
    base, source = base_of("language_modeling", tmp_path, shape)
    with pytest.raises(InputError, match="head of this gpt2 model is its embedding"):
        finetune(base, source, freeze_trunk=True, **QUICK)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"head": "old"}, InputError, "head: got 'old'"),
        ({"epochs": 1, "tokens": 9}, InputError, "got epochs and tokens"),
        ({"epochs": 0}, InputError, "epochs: got 0"),
        ({"epochs": float("nan")}, InputError, "epochs: got nan"),
        ({"seed": -1}, InputError, "seed: got -1"),
        ({"rate": -1.0}, ConfigError, "recipe.rate: got -1.0"),
        ({"recipe": {"context": 99}}, InputError, "recipe.context: got 99.* positions for 24"),
        ({"recipe": {"bach": 1}}, ConfigError, "recipe.bach"),
        ({"task": {"vocab_size": 300}}, InputError, "task.vocab_size: the model's own stays"),
        ({"task": {"text_column": "body"}}, DataError, "no column for the text; expected body"),
        ({"task": {"name": "language_modeling"}}, InputError,
         "bert model of text_classification has the head classify, task 'language_modeling'"),
        ({"split": {"train": 2.0, "val": 0.1, "test": 0.1}}, ConfigError, "split"),
        ({"recipe": {"rate": "search"}}, ConfigError, "rate: got 'search'"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_before_anything_is_trained(
    classifier, shouted, arguments, error, message
):
    with pytest.raises(error, match=message):
        finetune(classifier[0], shouted, **arguments)


def test_a_place_that_holds_something_else_is_refused(classifier, shouted, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="holds something that is not a model"):
        finetune(classifier[0], shouted, out=tmp_path)


def test_a_model_without_a_tokenizer_is_refused(classifier, shouted):
    bare = build(CASES["text_classification"].shape, classifier[0].task_spec)
    with pytest.raises(InputError, match="neither tokenizer nor image preprocessor"):
        finetune(bare, shouted, **QUICK)


def test_a_tokenizer_that_cuts_and_fills_by_itself_is_kept_from_it(classifier, shouted, tmp_path):
    base = classifier[0]
    plain = json.loads((base.folder / "tokenizer.json").read_text())
    plain["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
                           "stride": 0}  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(plain))
    write_model(tmp_path / "cut", base.state_dict(), base.manifest, processor_dir=tmp_path)
    cut = load_folder(tmp_path / "cut", device="cpu")
    text = "red blue green warm cold tall always"
    assert cut.predict(text).score == pytest.approx(base.predict(text).score, abs=1e-6)
    one, two = (finetune(model, shouted, **QUICK) for model in (cut, base))
    assert one.metrics == two.metrics


def test_tokens_are_hidden_only_behind_a_mask_that_the_tokenizer_has(classifier, shouted, tmp_path):
    base, hiding = classifier[0], FP32 | {"token_dropout": 0.1}
    finetune(base, shouted, tokens=1, recipe=hiding)
    text = (base.folder / "tokenizer.json").read_text().replace("[MASK]", "[HIDE]")
    (tmp_path / "tokenizer.json").write_text(text)
    write_model(tmp_path / "bare", base.state_dict(), base.manifest, processor_dir=tmp_path)
    with pytest.raises(InputError, match=r"tokenizer has no \[MASK\] of id 3"):
        finetune(load_folder(tmp_path / "bare", device="cpu"), shouted, tokens=1, recipe=hiding)
