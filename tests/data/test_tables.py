"""Tables of examples as users have them, and every way in which one can be wrong."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from nas.data.tables import read_rows
from nas.errors import DataError

COLUMNS = {"text": ("text", "sentence"), "label": ("label", "class")}
ROWS = {"text": ["a, b", 'say "hi"'], "label": ["1", "no"]}


def read(path: Path, content: str | bytes) -> dict[str, list[str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_rows(path, COLUMNS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"a, b",1\n"say ""hi""",no\n'),
        ("a.csv", '\ufeffid,class,sentence\r\n7,1,"a, b"\r\n8,no,"say ""hi"""\r\n'),
        ("a.csv", '"a, b",1\n"say ""hi""",no\n'),
        ("a.tsv", 'label\ttext\n1\ta, b\nno\tsay "hi"\n'),
        ("A.TSV", 'a, b\t1\nsay "hi"\tno'),
        ("a.jsonl", '{"text": "a, b", "label": 1}\n\n{"label": "no", "text": "say \\"hi\\""}\n'),
        ("a.jsonl", '{"text": "a, b", "label": 1.0}\n{"label": "no", "text": "say \\"hi\\""}'),
    ],
)
def test_columns_are_found_by_name_or_place(tmp_path: Path, name: str, content: str) -> None:
    assert read(tmp_path / name, content) == ROWS
    assert read(tmp_path / f"{name}.gz", gzip.compress(content.encode())) == ROWS


def test_a_quoted_field_may_hold_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", 'text,label\n"one\ntwo",x\n')["text"] == ["one\ntwo"]


def test_a_field_may_be_longer_than_pythons_limit(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "word " * 50_000
    assert read(tmp_path / "a.csv", f"text,label\n{long},x\n")["text"] == [long]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "text,label\n", "a header and no rows"),
        ("a.csv", "txt,label\nx,y\n", r"no column for the text; expected text or sentence.*'txt'"),
        ("a.csv", "body,mark\nx y,z\n", "no column for the text; .*, the file has body, mark"),
        ("a.csv", "text,label,text\nx,y,z\n", "two columns are called 'text'"),
        ("a.csv", "text,label\nx,y\nz\n", "line 3: 1 fields, the header has 2"),
        ("a.csv", 'text,label\n"x,y\n', "line 2: not csv"),
        ("a.tsv", "text\tlabel\nx\ty\tz\n", "line 2: 3 fields"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', "line 2: not JSON"),
        ("a.jsonl", "[1, 2]\n", "line 1: got list, expected an object"),
        ("a.jsonl", '{"text": "x"}\n', "no column for the label"),
        ("a.jsonl", '{"text": "x", "label": null}\n', "line 1: label: got nothing"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "line 1: label: got nan"),
        ("a.jsonl", '{"text": "a\\ud800", "label": 1}\n', r"line 1: text: character 1 is \\ud800"),
        ("a.jsonl", '{"text": ["x"], "label": 1}\n', "line 1: text: got list"),
        ("a.xlsx", "x", r"a table is a \.csv, \.tsv, \.jsonl file"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        read(tmp_path / name, content)
    assert name in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="UTF-8"):
        read(tmp_path / "a.csv", b"text,label\n\xff\xfe,1\n")
