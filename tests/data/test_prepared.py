"""The folder of prepared data: what is in it, when it is made anew, what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from nas.data import DataRequest, PreparedData, Split, source_changed
from nas.data.language_modeling import OPTIONS, prepare_language_modeling
from nas.errors import DataError

SPLIT = Split(train=0.8, val=0.1, test=0.1)
NO_TEST = Split(train=0.9, val=0.1, test=0)
TEXT = "".join(chr(97 + i % 26) for i in range(1000))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def _prepare(source: Path, split: Split = SPLIT, context: int = 16) -> PreparedData:
    return prepare_language_modeling(
        request(str(source), split, context), source.parent / "study" / "data"
    )


def request(
    data: str | dict[str, str], split: Split = SPLIT, context: int = 16, **options: Any
) -> DataRequest:
    defaults = {name: option.default for name, option in OPTIONS.items()}
    return DataRequest.of(data, split=split, context=context, options=defaults | options)


def _bytes(prepared: PreparedData, split: str) -> bytes:
    return bytes(prepared.array(f"{split}.ids").astype(np.uint8))


def test_splits_are_the_text_cut_in_order(source: Path) -> None:
    prepared = _prepare(source)
    assert _bytes(prepared, "train") == TEXT[:800].encode()
    assert _bytes(prepared, "val") == TEXT[800:900].encode()
    assert _bytes(prepared, "test") == TEXT[900:].encode()
    assert isinstance(prepared.array("train.ids"), np.memmap)
    assert prepared.bytes_per_token("val") == 1.0


def test_a_test_fraction_of_zero_keeps_no_test(source: Path) -> None:
    prepared = _prepare(source, NO_TEST)
    assert _bytes(prepared, "val") == TEXT[900:].encode()
    assert prepared.info.tokens == {"train": 900, "val": 100, "test": 0}
    with pytest.raises(DataError, match=r"no 'test' split was kept; its fraction is 0"):
        prepared.need("test")


def test_ends_of_documents_are_tokens_but_no_bytes(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for i in range(10):
        (corpus / f"{i}.txt").write_text(f"{i}" * 99)
    prepared = _prepare(corpus)
    assert sum(prepared.info.tokens.values()) == 1000
    assert sum(prepared.info.bytes.values()) == 990
    assert np.count_nonzero(prepared.array("train.ids") == prepared.spec.eos_token_id) == 8


def test_reopening_returns_the_same_record(source: Path) -> None:
    prepared = _prepare(source)
    assert PreparedData.open(prepared.folder) == prepared
    tokenizer = Tokenizer.from_file(str(prepared.folder / "tokenizer.json"))
    assert tokenizer.decode(prepared.array("test.ids").tolist()) == TEXT[900:]


def test_a_complete_folder_is_opened_without_the_source(source: Path) -> None:
    prepared = _prepare(source)
    source.unlink()
    assert _prepare(source) == prepared


def test_an_incomplete_folder_is_made_anew(source: Path) -> None:
    prepared = _prepare(source)
    (prepared.folder / "data.json").unlink()
    (prepared.folder / "val.ids.npy").write_bytes(b"half")
    assert _prepare(source) == prepared


def test_fingerprint_tells_data_and_splits_apart_but_not_names(tmp_path: Path) -> None:
    prints = {}
    for name, text, split in (
        ("a", TEXT, SPLIT),
        ("b", TEXT, SPLIT),
        ("c", TEXT[:-1] + "!", SPLIT),
        ("d", TEXT, NO_TEST),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(text)
        prints[name] = _prepare(tmp_path / name / f"{name}.txt", split).info.fingerprint
    assert prints["a"] == prints["b"]
    assert len(set(prints.values())) == 3


def test_a_changed_source_is_noticed(source: Path) -> None:
    prepared = _prepare(source)
    assert not source_changed(prepared, {"all": str(source)})
    source.write_text(TEXT + "more")
    assert source_changed(prepared, {"all": str(source)})
    source.unlink()
    assert not source_changed(prepared, {"all": str(source)})
    assert not source_changed(prepared, {"all": "builtin:python-docs"})


@pytest.mark.parametrize(
    ("split", "context", "message"),
    [
        (SPLIT, 100, r"the val split holds 100 tokens, at least 101 are needed .*lower recipe"),
        (Split(train=0.89, val=0.1, test=0.01), 64, r"the test split holds 10 tokens.*split\.test"),
        (SPLIT, 4096, r"the train split holds 800 tokens"),
    ],
)
def test_a_split_shorter_than_a_context_is_refused(
    source: Path, split: Split, context: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _prepare(source, split, context)
    assert not (source.parent / "study").exists()


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.8, 0.1, 0.2), r"add up to 1\.1, expected 1"),
        ((1.0, 0.0, 0.0), r"split: val: got 0\.0, expected more than 0"),
        ((0.0, 0.5, 0.5), r"split: train: got 0\.0, expected more than 0"),
        ((1.2, 0.3, -0.5), r"split: train: got 1\.2"),
        ((0.9, 0.2, -0.1), r"split: test: got -0\.1, expected 0 or more"),
        ((float("nan"), 0.5, 0.5), r"split: train: got nan"),
    ],
)
def test_fractions_that_are_none_are_refused(
    fractions: tuple[float, float, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Split(train=fractions[0], val=fractions[1], test=fractions[2])


def test_a_folder_prepared_otherwise_is_refused(source: Path) -> None:
    _prepare(source)
    with pytest.raises(DataError, match=r"prepared with context 16, 8 asked for"):
        _prepare(source, context=8)
    with pytest.raises(DataError, match=r"prepared with split .* asked for"):
        _prepare(source, replace(SPLIT, train=0.7, val=0.2))


def test_a_folder_that_cannot_be_written_is_refused(source: Path) -> None:
    folder = source / "data"  # below a file
    with pytest.raises(DataError, match=r"cannot write the prepared data: Not a directory"):
        prepare_language_modeling(request(str(source)), folder)


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file sizes stands in for a disk")
def test_a_full_disk_is_one_line_and_leaves_nothing_complete(source: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write the prepared data: .*make room"):
            _prepare(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _prepare(source).info.tokens["train"] == 800


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data.json", b"{", r"data\.json: damaged \(.*delete .* to prepare the data again"),
        ("data.json", b"[]", r"data\.json: damaged"),
        ("data.json", b'{"format_version": 2}', r"data\.json: damaged"),
        ("data.json", b'{"format_version": 9}', r"data\.json: format_version 9, this nas reads 2"),
        ("train.ids.npy", b"", r"train\.ids\.npy: damaged"),
        ("val.ids.npy", None, r"val\.ids\.npy: damaged"),
    ],
)
def test_a_damaged_folder_is_refused(
    source: Path, file: str, content: bytes | None, message: str
) -> None:
    prepared = _prepare(source)
    path = prepared.folder / file
    path.write_bytes(path.read_bytes()[:-2] if content is None else content)
    with pytest.raises(DataError, match=message):
        PreparedData.open(prepared.folder)


def test_an_array_of_another_length_is_refused(source: Path) -> None:
    prepared = _prepare(source)
    np.save(prepared.folder / "val.ids.npy", np.zeros(3, dtype=np.uint16))
    with pytest.raises(DataError, match=r"val\.ids\.npy: damaged \(<u2\(3,\), expected <u2"):
        PreparedData.open(prepared.folder)


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no prepared data here \(data\.json is missing\)"):
        PreparedData.open(tmp_path / "nowhere")


def test_data_json_can_be_read_by_anyone(source: Path) -> None:
    plain = json.loads((_prepare(source).folder / "data.json").read_text())
    assert plain["format_version"] == 2
    assert plain["sources"] == {"all": str(source)}
    assert plain["split"] == {"train": 0.8, "val": 0.1, "test": 0.1}
    spec = plain["spec"]
    assert (spec["vocab_size"], spec["bos_token_id"], spec["eos_token_id"]) == (257, 256, 256)
