"""What a user can get wrong: one line on standard error, exit status 2, nothing lost or made."""

import pytest

import nas as package
from nas.cli import main
from nas.errors import NasError

SEARCH = ("search", "tiny.yaml")
SPACE = ("--space", "llama_tiny")
CLASSIFY = ("search", "--task", "text_classification", "--data")


def refused(found, *words):
    """Check that a command was refused in one line."""
    assert found.code == 2
    assert len(found.err.splitlines()) == 1, found.err
    assert found.err.startswith("nas: ")
    for word in words:
        assert word in found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SEARCH, "--set", "stop.minuts=3"), ["stop.minuts", "did you mean 'minutes'?"]),
        ((*SEARCH, "--set", "stop.minutes"), ["expected KEY=VALUE"]),
        ((*SEARCH, "--set", "recipe.rate=1e-7"), ["recipe.rate"]),
        ((*SEARCH, "--set", "keep=no"), ["keep"]),
        ((*SEARCH, "--candidates", "0"), ["stop.candidates", "0"]),
        ((*SEARCH, "--minutes", "-1"), ["stop.minutes"]),
        ((*SEARCH, "--task", "translating"), ["task.name", "language_modeling"]),
        ((*SEARCH, "--space", "lama_tiny"), ["space", "did you mean 'llama_tiny'?"]),
        ((*SEARCH, "--strategy", "tpee"), ["strategy", "did you mean 'tpe'?"]),
        ((*SEARCH, "--device", "tpu"), ["device", "tpu"]),
        ((*SEARCH, "--executor", "process"), ["executor", "processes"]),
        ((*SEARCH, "--executor", "ray://head"), ["executor", "'ray://head'", "ray://HOST:PORT"]),
        ((*SEARCH, "--name", "../up"), ["study name '../up'"]),
        ((*SEARCH, "--data", "nothere.txt"), ["nothere.txt"]),
        ((*SEARCH, "--data", "empty.txt"), ["empty.txt: empty"]),
        ((*SEARCH, "--data", "short.txt"), ["short.txt"]),
        ((*SEARCH, "--data", "builtin:python-doc"), ["did you mean 'python-docs'?"]),
        ((*SEARCH, "--strategy", "nowhere.at:All"), ["no module 'nowhere'"]),
        ((*SEARCH, "--strategy", "os.path:join"), ["strategy: 'os.path:join'", "no 'propose'"]),
        ((*SEARCH, "--task", "nas.errors:NasError"), ["task.name", "no 'evaluate'"]),
        ((*SEARCH, "--set", "space.family=os:fspath"), ["space.family", "no 'cost'"]),
        ((*SEARCH, "--name", ""), ["study name ''"]),
        ((*SEARCH, "--data", "zero\0byte"), ["task.data", "without zero bytes"]),
        ((*SEARCH, "--device", "cuda:99"), ["'cuda:99' is not here"]),
        (("search", "notes.txt"), ["notes.txt: is no SQLite file"]),
        (
            (*SEARCH, "--task", "text_classification"),
            ["'llama' does not serve", "no classify head"],
        ),
        ((*CLASSIFY, "nothere.csv"), ["nothere.csv: no such file"]),
        ((*CLASSIFY, "notes.txt"), ["notes.txt: a table is a .csv, .tsv, .jsonl file"]),
        ((*CLASSIFY, "columns.csv"), ["columns.csv: no column for the text", "words"]),
        ((*CLASSIFY, "one.csv"), ["one.csv: every example of train is 'a'; two classes or more"]),
        ((*CLASSIFY, "one.csv", "--set", "task.long_inputs=cut"), ["task.long_inputs", "chunk"]),
        ((*CLASSIFY, "one.csv", "--set", "objectives=[val_bleu]"), ["objectives[0]", "val_acc"]),
        (("search", "--task", "image_classification", "--data", "."), ["no pictures in class"]),
        (("search", "--task", "sequence_to_sequence", "--data", "gap.csv"), ["an empty target"]),
        (("search", "--task", "sequential_recommendation", "--data", "one.csv"), ["for the user"]),
        ((*SEARCH, "--set", "objectives=[latency]"), ["objectives[0]", "mean 'latency_ms'?"]),
        ((*SEARCH, "--set", "latency.phase=decoding"), ["latency.phase", "mean 'decode'?"]),
        ((*SEARCH, "--set", "latency.max_ms=-1"), ["latency.max_ms", "a number >= 0.001"]),
        ((*SEARCH, "--set", "latency.device=cuda:99"), ["'cuda:99' is not here"]),
        (("profile",), ["no study in studies"]),
        (("profile", "nope"), ["no study 'nope'"]),
        (("profile", "x", *SPACE), ["both 'x' and --space llama_tiny"]),
        (("profile", "--set", "n_layer=2"), ["--set", "give --space too"]),
        (("profile", "--space", "lama_tiny"), ["did you mean 'llama_tiny'?"]),
        (("profile", *SPACE, "--set", "n_layr=2"), ["did you mean 'n_layer'?"]),
        (("profile", *SPACE, "--set", "n_layer=two"), ["n_layer: got 'two'"]),
        (("profile", *SPACE, "--set", "n_layer"), ["expected KEY=VALUE"]),
        (("profile", *SPACE, "--phase", "decoding"), ["--phase: got 'decoding'", "'decode'?"]),
        (("profile", "--space", "vit_tiny", "--phase", "decode"), ["write no tokens"]),
        (("profile", *SPACE, "--batch", "0"), ["--batch", "nas profile --help"]),
        (("profile", *SPACE, "--repeats", "0"), ["--repeats"]),
        (("profile", *SPACE, "--device", "cuda:99"), ["'cuda:99' is not here"]),
        ((*SEARCH, "--from", "nope"), ["no study 'nope'"]),
        ((*SEARCH, "--from", "nope", "--dry-run"), ["no study 'nope'"]),
        ((*SEARCH, "--from", "sqlite:///x.db"), ["warm_start: got a database URL"]),
        (("search", "nope"), ["no study file 'nope'"]),
        (("search", "nope.yaml"), ["nope.yaml: cannot be read"]),
        (("search", "doubled.yaml"), ["doubled.yaml", "keep"]),
        (("search", "sqlite:///x.db"), ["database URL"]),
        (("search", "--candidates", "many"), ["--candidates", "nas search --help"]),
        (("trials",), ["no study in studies", "nas search"]),
        (("trials", "quickstart"), ["no study 'quickstart'"]),
        (("best",), ["no study in studies"]),
        (("show",), ["no study in studies"]),
        (("generate",), ["no study in studies"]),
        (("generate", "x", "--device", "tpu"), ["unknown device 'tpu'"]),
        (("rm", "nope"), ["no study 'nope'"]),
        (("rm", "."), ["no study.db"]),
        (("rm", "sqlite:///x.db"), ["database URL"]),
        (("spaces", "nope"), ["no search space 'nope'"]),
        (("trial",), ["trial", "nas --help"]),
        (("trials", "--form", "xml"), ["--form"]),
        (("train", "tiny"), ["--candidate", "nas train --help"]),
        (("enqueue", "nope", "n_layer=1"), ["no study 'nope'"]),
        (("enqueue", "tiny"), ["FIELD=VALUE", "nas enqueue --help"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistake_before_there_is_a_study_gets_one_line(nas, empty_place, arguments, words):
    (empty_place / "empty.txt").write_text("")
    (empty_place / "columns.csv").write_text("words,class\nsome,a\n")
    (empty_place / "one.csv").write_text("text,label\n" + "some,a\n" * 40)
    (empty_place / "gap.csv").write_text("source,target\nsome,more\nsome, \n")
    (empty_place / "short.txt").write_text("ab")
    (empty_place / "doubled.yaml").write_text("keep: 1\nkeep: 2\n")
    refused(nas(*arguments), *words)
    assert not list(empty_place.glob("studies/*/study.db"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "tiny.yaml", "--set", "recipe.batch=4"), ["recipe.batch", "--fresh"]),
        (("search", "tiny.yaml", "--space", "llama_tiny"), ["space.", "--name"]),
        (("search", "tiny.yaml", "--from", "tiny"), ["warm_start: nothing in the study", "--name"]),
        (("trials", "--where", "loss < 2"), ["unknown column 'loss'"]),
        (("trials", "--where", "1); DROP TABLE nas_study; --"), ["where: "]),
        (("trials", "--where", "__import__('os').system('ls')"), ["where: "]),
        (("trials", "--sort", "vall_loss"), ["did you mean 'val_loss'?"]),
        (("trials", "--columns", "number,vall_loss"), ["did you mean 'val_loss'?"]),
        (("trials", "--role", "finalists"), ["did you mean 'finalist'?"]),
        (("trials", "--state", "fialed"), ["did you mean 'failed'?"]),
        (("trials", "--limit", "-1"), ["--limit"]),
        (("trials", "tinny"), ["did you mean 'tiny'?"]),
        (("best", "--max-params", "1"), ["has params <= 1"]),
        (("best", "--max-latency-ms", "1"), ["latency_ms was not measured"]),
        (("profile", "tiny", "--candidate", "99"), ["no candidate '99'"]),
        (("profile", "tiny", "--context", "17"), ["--context: got 17", "positions for 16"]),
        (("show", "tiny", "99"), ["no candidate '99'"]),
        (("show", "tiny", "zzz"), ["no candidate 'zzz'"]),
        (("generate", "--top-p", "2"), ["top_p"]),
        (("generate", "--candidate", "99"), ["no candidate '99'"]),
        (("train", "tiny", "--candidate", "99"), ["no candidate '99'"]),
        (("train", "tiny", "--candidate", "0", "--set", "n_layer=1"), ["give --candidate, or"]),
        (("train", "tiny", "--tokens", "9000", "--set", "n_layer=1"), ["--tokens is for a --cand"]),
        (("train", "tiny", "--candidate", "0", "--tokens", "4096"), ["got 4096", "give 4224 or"]),
        (("train", "tiny", "--candidate", "0", "--tokens", "many"), ["--tokens", "train --help"]),
        (("train", "tiny", "--set", "n_layer=1"), ["missing", "d_model"]),
        (("train", "tiny", "--set", "width=1"), ["no field 'width'"]),
        (("enqueue", "tiny", "n_layer"), ["got 'n_layer', expected FIELD=VALUE"]),
        (("enqueue", "tiny", "n_layer=1 n_layer=2"), ["'n_layer' given twice"]),
        (("enqueue", "tiny", "n_layer=1", "d_model=16", "d_ff=17"), ["d_ff: 17 is not one of"]),
        (("enqueue", "tiny", "n_layer=1", "d_model=16", "d_ff=32"), ["is candidate #0 already"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistake_about_a_study_gets_one_line(nas, place, arguments, words):
    refused(nas(*arguments), *words)


def test_weights_that_were_not_kept_name_the_way_to_train_again(nas, place):
    rows = package.open_study("tiny").trials(role="search")
    row = next(row for row in rows if row.model_path is None)
    found = nas("generate", "tiny", "--candidate", row.candidate_id)
    refused(found, f"nas train tiny --candidate {row.candidate_id}")


def test_altered_model_folder_is_refused(nas, own_place):
    study = package.open_study("tiny")
    weights = study.folder / study.best().model_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(nas("generate", "tiny"), "model.safetensors")


def test_study_of_another_place_is_not_gone_on_with(nas, own_place, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "elsewhere"))
    refused(nas("search", "studies/tiny"), "NAS_STUDIES=")


def test_study_that_was_moved_aside_is_not_gone_on_with(nas, own_place):
    (own_place / "studies/tiny").rename(own_place / "studies/tiny.1")
    refused(nas("search", "studies/tiny.1"), "moved aside", "rename")


def test_studies_folder_that_is_a_file_is_refused(nas, empty_place, monkeypatch):
    monkeypatch.setenv("NAS_STUDIES", str(empty_place / "notes.txt"))
    refused(nas(*SEARCH), "NAS_STUDIES")


def test_study_beyond_reading_is_moved_aside_by_fresh(nas, own_place):
    (own_place / "tiny.yaml").rename(own_place / "studies/tiny.yaml")
    (own_place / "studies/tiny/study.db").write_bytes(b"damaged" * 99)
    refused(nas("search", "tiny", "--data", "notes.txt", "--name", "tiny"), "--fresh")
    found = nas("search", "tiny", "--fresh", "--data", "notes.txt", "--name", "tiny", "--quiet")
    assert (found.code, (own_place / "studies/tiny.1/study.db").read_bytes()[:7]) == (0, b"damaged")


def test_debug_shows_the_traceback(place, monkeypatch):
    monkeypatch.setenv("NAS_DEBUG", "1")
    with pytest.raises(NasError, match="no study 'nope'"):
        main(["trials", "nope"])


def test_a_model_that_writes_no_text_says_so(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = package.architecture("bert", n_layer=1, d_model=16, n_head=2, d_ff=16)
    spec = package.TaskSpec(
        task="text_classification", head="classify", vocab_size=50, context=8, labels=("a", "b"),
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    package.save(package.build(shape, spec), tmp_path / "model")
    refused(nas("generate", "model"), "a text_classification model does not go on with a text")
