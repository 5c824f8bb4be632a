"""What a user may name as data, and every way in which it can be wrong."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest

from nas.data import read_documents, signature
from nas.errors import DataError


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # else names of tests tell the second


def test_reading_keeps_every_byte_of_a_file(tmp_path: Path) -> None:
    content = "Straße\r\n\t漢字 🙂 <|endoftext|>\n".encode()
    (tmp_path / "a.anything").write_bytes(content)
    assert read_documents(str(tmp_path / "a.anything")) == [content]


def test_reading_unzips_a_gz_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(zipped(b"some text"))
    assert read_documents(str(tmp_path / "a.txt.gz")) == [b"some text"]


def test_reading_a_folder_takes_text_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    (folder / "one.txt").write_bytes(b"one")
    (folder / "sub" / "two.md.gz").write_bytes(zipped(b"two"))
    (folder / "empty.txt").touch()
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".three.txt").write_bytes(b"three")
    (folder / "sub" / ".hidden" / "four.txt").write_bytes(b"four")
    (tmp_path / "five.txt").write_bytes(b"five")
    (folder / "link.txt").symlink_to(tmp_path / "five.txt")
    assert sorted(read_documents(str(folder))) == [b"one", b"two"]


def test_order_and_signature_of_a_folder_ignore_file_names(tmp_path: Path) -> None:
    for folder, names in (("a", "123"), ("b", "312")):
        (tmp_path / folder).mkdir()
        for name, text in zip(names, ("first", "second", "third"), strict=True):
            (tmp_path / folder / f"{name}.txt").write_text(text)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert read_documents(a) == read_documents(b)
    assert signature({"all": a}) == signature({"all": b})


def test_signature_sees_where_a_document_ends(tmp_path: Path) -> None:
    for folder, texts in (("a", ("xy", "z")), ("b", ("x", "yz"))):
        (tmp_path / folder).mkdir()
        for i, text in enumerate(texts):
            (tmp_path / folder / f"{i}.txt").write_text(text)
    assert signature({"all": str(tmp_path / "a")}) != signature({"all": str(tmp_path / "b")})


def test_builtin_docs_are_the_language_reference() -> None:
    documents = read_documents("builtin:python-docs")
    assert 300_000 < sum(map(len, documents)) < 1_000_000
    assert any(b"lambda" in document for document in documents)


def test_builtin_source_is_the_library_without_tests() -> None:
    documents = read_documents("builtin:python-source")
    assert 8_000_000 < sum(map(len, documents)) < 30_000_000
    library_file = Path(os.__file__).read_bytes()
    assert library_file in documents
    assert Path(pytest.__file__).read_bytes() not in documents


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.txt", b"good \xff bad", r"bad\.txt: byte 5 is 0xff: not UTF-8 text"),
        ("latin.txt", "café".encode("latin-1"), r"latin\.txt: byte 3 is 0xe9: not UTF-8"),
        ("cut.txt", "€".encode()[:2], r"cut\.txt: byte 0 is 0xe2: not UTF-8"),
        ("utf16.txt", "hi".encode("utf-16-le"), r"utf16\.txt: byte 1 is zero: not UTF-8"),
        ("program.bin", b"\x7fELF\x00\x01", r"program\.bin: byte 4 is zero"),
        ("empty.txt", b"", r"empty\.txt: empty"),
        ("empty.txt.gz", zipped(b""), r"empty\.txt\.gz: empty"),
        ("plain.txt.gz", b"not zipped", r"plain\.txt\.gz: not a whole gzip file"),
        ("cut.txt.gz", zipped(b"text" * 99)[:-9], r"cut\.txt\.gz: not a whole gzip file"),
        ("bits.txt.gz", zipped(b"text" * 99)[:12] + b"\xff" * 40, r"not a whole gzip file"),
    ],
)
def test_a_file_that_is_no_text_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_documents(str(tmp_path / name))


def test_a_source_that_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    for source in (tmp_path / "no.txt", tmp_path / "a.txt" / "b.txt"):
        with pytest.raises(DataError, match=r"no such file or folder; check the path"):
            read_documents(str(source))


@pytest.mark.parametrize("source", ["no\0such", "x" * 5000])
def test_a_source_that_is_no_path_is_refused(source: str) -> None:
    with pytest.raises(DataError, match=r"cannot be read: "):
        read_documents(source)


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"no text files in this folder \(looked for \.txt"):
        read_documents(str(tmp_path))


def test_an_unknown_builtin_corpus_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"unknown corpus 'builtin:python-doc'.*'python-docs'\?"):
        read_documents("builtin:python-doc")


def test_the_home_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(DataError, match=r"write the whole path"):
        read_documents("~no-such-user-here/text.txt")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are Unix files")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: neither a file nor a folder"):
        read_documents(str(tmp_path / "pipe"))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DataError, match=r"/proc/self/mem: cannot be read: Input/output error"):
        read_documents("/proc/self/mem")
