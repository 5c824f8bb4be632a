"""Model folders that somebody altered: what a mutation is, and how it is done to a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

FOLDERS = Path(__file__).parent / "fixtures" / "format_1"
NAMES = sorted(path.name for path in FOLDERS.iterdir())
MANIFEST, WEIGHTS, GOLDEN = "nas.json", "model.safetensors", "golden.safetensors"

DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
ODD = [
    None, True, False, 0, 1, 2, 3, 4, 7, 12, 13, 256, -1, 1 << 20, 1 << 31, 1 << 40, 1 << 63,
    1 << 64, 10**400, 0.5, 2.0, 1e300, float("nan"), float("inf"), "", "x", "F32", "F16", "F64",
    "I64", "BF16", "bert", "llama", "os:system", "classify", "causal_lm", "../../x", "/dev/zero",
    "\x00", "\ud800", "\x1b[31m", "é" * 300, [], {}, [[]], {"a": 1}, [1, 2], [0] * 300, DEEP,
]  # fmt: skip
PATHS = [
    "../llama/nas.json", "/etc/hostname", "exports/../nas.json", "./nas.json", "a//b", "a/", "",
    "C:\\x", "a\x00b", "\ud800", "x" * 5000, "/".join("ab" * 3000), "nas.json", "exports",
    "README.md/x", "\x1b[2J",
]  # fmt: skip
KINDS = (
    "json", "json", "json", "manifest", "manifest", "manifest", "header", "header", "bytes",
    "bytes", "number", "place", "swap", "path",
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One alteration; numbers choose by remainder, so that any number will do.

    Attributes:
        name: Of the folder altered.
        kind: One of `KINDS`.
        file: Which file.
        at: Where in it.
        how: Which way.
        value: What is put there.
        sealed: Whether size and hash in `nas.json` are made to agree.
    """

    name: str
    kind: str
    file: int
    at: int
    how: int
    value: Any
    sealed: bool


def mutations() -> st.SearchStrategy[Mutation]:
    number = st.integers(0, 1 << 20)
    return st.builds(
        Mutation,
        name=st.sampled_from(NAMES),
        kind=st.sampled_from(KINDS),
        file=number,
        at=number,
        how=st.integers(0, 11),
        value=st.sampled_from(ODD),
        sealed=st.sampled_from([True, True, True, False]),
    )


def mutate(mutation: Mutation, folder: Path) -> None:
    """Put a copy of the named folder in place of `folder`, and alter it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FOLDERS / mutation.name, folder)
    {
        "json": _edit_json,
        "manifest": _edit_manifest,
        "header": _edit_header,
        "bytes": _edit_bytes,
        "number": _edit_number,
        "place": _edit_place,
        "swap": _swap,
        "path": _edit_path,
    }[mutation.kind](mutation, folder)


def seal(folder: Path, *names: str) -> None:
    """Let `nas.json` agree with size and hash of these files."""
    plain = json.loads((folder / MANIFEST).read_text())
    for name in names:
        content = (folder / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        plain["files"][name] = {"bytes": len(content), "sha256": sha256}
    (folder / MANIFEST).write_text(json.dumps(plain))


def files_of(folder: Path) -> list[str]:
    """Return the paths of all files, `nas.json` last."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    return [*sorted(path.relative_to(folder).as_posix() for path in paths), MANIFEST]


def split_header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join_header(header: Any, data: bytes, *, longer: int = 0) -> bytes:
    """Return a safetensors file whose header claims to be some bytes longer than it is."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return (len(text) + longer).to_bytes(8, "little") + text + data


def edit_plain(plain: Any, mutation: Mutation) -> None:
    """Replace, delete, add or nudge at one place of parsed JSON."""
    places = list(_places(plain))
    inside, key = places[mutation.at % len(places)]
    old = inside[key]
    if mutation.how < 5:
        inside[key] = mutation.value
    elif mutation.how < 7:
        del inside[key]
    elif mutation.how < 9 and type(old) is int:
        inside[key] = (old - 1, old + 1, 2 * old, old // 2)[mutation.file % 4]
    elif isinstance(inside, list):
        inside.insert(key, mutation.value)
    else:
        inside[f"{key}_" if mutation.how < 11 else f"{mutation.value}"[:99]] = mutation.value


def _places(plain: Any) -> Any:
    keys = plain if isinstance(plain, dict) else range(len(plain)) if type(plain) is list else ()
    for key in keys:
        yield plain, key
        yield from _places(plain[key])


def _edit_json(mutation: Mutation, folder: Path) -> None:
    names = [name for name in files_of(folder) if name.endswith(".json")]
    name = names[mutation.file % len(names)]
    plain = json.loads((folder / name).read_text())
    edit_plain(plain, mutation)
    _put(mutation, folder, name, json.dumps(plain).encode())


def _edit_manifest(mutation: Mutation, folder: Path) -> None:
    """Alter what the model is made from, or the record of its weights."""
    plain = json.loads((folder / MANIFEST).read_text())
    part = ("architecture", "task_spec", "files")[mutation.file % 3]
    edit_plain(plain[part], mutation)
    (folder / MANIFEST).write_text(json.dumps(plain))


def _edit_header(mutation: Mutation, folder: Path) -> None:
    name = (WEIGHTS, GOLDEN)[mutation.file % 2]
    header, data = split_header((folder / name).read_bytes())
    edit_plain(header, mutation)
    longer = (0, 0, 0, 0, 1, -1, 8, 1 << 40, (1 << 63) - 1)[mutation.file % 9]
    _put(mutation, folder, name, join_header(header, data, longer=max(longer, -8)))


def _edit_bytes(mutation: Mutation, folder: Path) -> None:
    names = files_of(folder)
    name = names[mutation.file % len(names)]
    content = (folder / name).read_bytes()
    at = mutation.at % len(content)
    changed = (
        content[:at] + bytes([content[at] ^ 1 << mutation.how % 8]) + content[at + 1 :],
        content[:at],
        content[:at] + bytes(mutation.how) + content[at:],
        content[at:],
    )[mutation.how % 4]
    _put(mutation, folder, name, changed)


def _edit_number(mutation: Mutation, folder: Path) -> None:
    """Put a NaN, an infinity or a large number among weights or golden tensors."""
    name = (WEIGHTS, WEIGHTS, GOLDEN)[mutation.file % 3]
    header, data = split_header((folder / name).read_bytes())
    at = mutation.at % (len(data) // 4) * 4
    number = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f")[
        mutation.how % 4
    ]
    _put(mutation, folder, name, join_header(header, data[:at] + number + data[at + 4 :]))


def _edit_place(mutation: Mutation, folder: Path) -> None:
    """Put something that is no plain file in a file's place."""
    names = [*files_of(folder), "exports"]
    path = folder / names[mutation.file % len(names)]
    if not path.exists():
        path = folder / WEIGHTS
    aside = folder.with_name("aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    path.rename(aside / path.name)
    (
        lambda: None,
        lambda: path.symlink_to(aside / path.name),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to(path),
        lambda: path.symlink_to(aside / "nothing"),
        path.mkdir,
        lambda: os.mkfifo(path),
    )[mutation.how % 7]()


def _swap(mutation: Mutation, folder: Path) -> None:
    """Put another file of this folder, or this file of another folder, in a file's place."""
    names = files_of(folder)
    name = names[mutation.file % len(names)]
    if mutation.how % 2:
        other = folder / names[mutation.at % len(names)]
    else:
        other = FOLDERS / NAMES[mutation.at % len(NAMES)] / name
    if other.exists():
        _put(mutation, folder, name, other.read_bytes())


def _edit_path(mutation: Mutation, folder: Path) -> None:
    """Add a file to the record that is not inside the folder, or not a file, or rename one."""
    plain = json.loads((folder / MANIFEST).read_text())
    name = list(plain["files"])[mutation.file % len(plain["files"])]
    info = plain["files"].pop(name) if mutation.how % 2 else plain["files"][name]
    plain["files"][PATHS[mutation.at % len(PATHS)]] = info
    (folder / MANIFEST).write_text(json.dumps(plain))


def _put(mutation: Mutation, folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    if mutation.sealed and name != MANIFEST:
        seal(folder, name)
