"""Images as users have them: class folders, npz, IDX; and every way in which they can be wrong."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.images import read_images
from nas.errors import DataError

Image = pytest.importorskip("PIL.Image", reason='pip install "transformer-nas[vision]"')

RNG = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (6, 6), mode: str = "RGB") -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"RGB": (*size, 3), "L": size, "RGBA": (*size, 4)}[mode]
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def idx(path: Path, array: np.ndarray, packed: bool = False) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)


def test_class_folders_give_names_and_pixels(tmp_path: Path) -> None:
    first = picture(tmp_path / "cat" / "1.png")
    second = picture(tmp_path / "dog" / "deep" / "2.PNG")
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    (tmp_path / ".git").mkdir()
    found = read_images(tmp_path, size=None)
    assert found.names == ("cat", "dog")
    assert found.labels.tolist() == [0, 1]
    assert np.array_equal(found.pixels, np.stack([first, second]))
    assert found.given is None


def test_grey_stays_grey_and_joins_colour_when_mixed(tmp_path: Path) -> None:
    grey = picture(tmp_path / "a" / "1.png", mode="L")
    picture(tmp_path / "b" / "1.png", mode="L")
    assert read_images(tmp_path, size=None).pixels.shape == (2, 6, 6, 1)
    picture(tmp_path / "b" / "2.png", mode="RGB")
    mixed = read_images(tmp_path, size=None).pixels
    assert mixed.shape == (3, 6, 6, 3)
    assert all(np.array_equal(mixed[0, :, :, channel], grey) for channel in range(3))


def test_what_is_clear_becomes_white(tmp_path: Path) -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(clear, "RGBA").save(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "1.png", (4, 4))
    assert (read_images(tmp_path, size=None).pixels[0] == 255).all()


def test_split_folders_are_kept(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for number in range(count):
            picture(tmp_path / split / "abc"[number % 2] / f"{number}.png")
    given = read_images(tmp_path, size=None).given
    assert given == {"train": slice(0, 3), "val": slice(3, 5), "test": slice(5, 6)}


def test_mixed_sizes_are_refused_or_resized(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png", (6, 6))
    picture(tmp_path / "b" / "1.png", (8, 8))
    with pytest.raises(DataError, match=r"differ in size: .*set task\.image_size"):
        read_images(tmp_path, size=None)
    assert read_images(tmp_path, size=5).pixels.shape == (2, 5, 5, 3)


def test_images_that_are_not_square_are_refused_or_resized(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 6, 8), np.uint8), y=np.arange(4) % 2)
    with pytest.raises(DataError, match=r"6 x 8; square ones are needed: set task\.image_size"):
        read_images(tmp_path / "x.npz", size=None)
    assert read_images(tmp_path / "x.npz", size=6).pixels.shape == (4, 6, 6, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_bring_their_test_split(tmp_path: Path, packed: bool) -> None:
    end = ".gz" if packed else ""
    pixels = RNG.integers(0, 256, (5, 4, 4), dtype=np.uint8)
    labels = np.array([7, 3, 7, 3, 3], np.uint8)
    for prefix, rows in (("train", slice(0, 3)), ("t10k", slice(3, 5))):
        idx(tmp_path / f"{prefix}-images-idx3-ubyte{end}", pixels[rows], packed)
        idx(tmp_path / f"{prefix}-labels-idx1-ubyte{end}", labels[rows], packed)
    found = read_images(tmp_path, size=None)
    assert np.array_equal(found.pixels[..., 0], pixels)
    assert (found.names, found.labels.tolist()) == (("3", "7"), [1, 0, 1, 0, 0])
    assert found.given == {"train": slice(0, 3), "test": slice(3, 5)}


def test_npz_with_splits(tmp_path: Path) -> None:
    pixels, labels = np.zeros((4, 4, 4, 3), np.int64), np.array(["a", "b", "a", "b"])
    np.savez(tmp_path / "x.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    found = read_images(tmp_path / "x.npz", size=None)
    assert found.pixels.dtype == np.uint8
    assert found.names == ("a", "b")
    assert found.given == {"train": slice(0, 4), "test": slice(4, 8)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "expected arrays x and y, got z"),
        ({"x": np.zeros((3, 4, 4)), "y": np.arange(3)}, "float64, expected integers 0 to 255"),
        ({"x": np.full((3, 4, 4), 256), "y": np.arange(3)}, "expected integers 0 to 255"),
        ({"x": np.zeros((3, 4), np.uint8), "y": np.arange(3)}, r"shape \(3, 4\), expected"),
        ({"x": np.zeros((3, 4, 4, 2), np.uint8), "y": np.arange(3)}, r"shape \(3, 4, 4, 2\)"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.arange(2)}, "3 images and 2 labels"),
        ({"x": np.zeros((3, 0, 0), np.uint8), "y": np.arange(3)}, "there are no pixels"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.array([0, np.nan])}, "labels of float64"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.array([0j, 1j])}, "labels of complex128"),
        ({"x": np.array([{}]), "y": np.arange(1)}, "not a readable npz file of plain arrays"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_images(tmp_path / "x.npz", size=None)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([1.0, 0.0, 1.0]), ("0", "1")),
        (np.array([b"dog", b"cat", b"dog"]), ("cat", "dog")),
        (np.array([10, 9, 10], np.uint8), ("9", "10")),
    ],
)
def test_labels_of_an_npz_are_named_as_a_person_would(tmp_path: Path, labels, names) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8), y=labels)
    found = read_images(tmp_path / "x.npz", size=None)
    assert (found.names, found.labels.tolist()) == (names, [1, 0, 1])


def npy(shape: str, content: bytes) -> bytes:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + content


@pytest.mark.parametrize("count", [10**13, 10**5, 100])
def test_an_npz_header_is_not_believed(tmp_path: Path, count: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(f"({count}, 8, 8)", b"some"))
        archive.writestr("y.npy", npy("(3,)", b"abc"))
    with pytest.raises(DataError, match=r"x\.npy has fewer bytes than its header says, \(100"):
        read_images(tmp_path / "x.npz", size=None)


def test_what_only_looks_like_an_npz_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"x\.npy: not a readable npz"):
        read_images(tmp_path / "x.npy", size=None)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", "no array")
    with pytest.raises(DataError, match=r"x\.npz: not a readable npz"):
        read_images(tmp_path / "x.npz", size=None)
    np.savez(tmp_path / "odd.npz", x=np.zeros(3))
    content = bytearray((tmp_path / "odd.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 77  # a compression that there is not
    (tmp_path / "odd.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.npz: not a readable npz"):
        read_images(tmp_path / "odd.npz", size=None)


def test_a_picture_of_16_bits_keeps_its_greys(tmp_path: Path) -> None:
    greys = (np.arange(16).reshape(4, 4) * 4096).astype(np.uint16)
    picture(tmp_path / "b" / "1.png", (4, 4), mode="L")
    (tmp_path / "a").mkdir()
    Image.fromarray(greys).save(tmp_path / "a" / "1.png")
    assert np.array_equal(read_images(tmp_path, size=None).pixels[0, :, :, 0], greys >> 8)
    Image.fromarray(greys.astype(np.float32)).save(tmp_path / "a" / "2.tif")
    with pytest.raises(DataError, match=r"2\.tif: pixels of 32 bits"):
        read_images(tmp_path, size=None)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(DataError, match=r"x\.npz: not a readable npz"):
        read_images(tmp_path / "x.npz", size=None)
    picture(tmp_path / "folder" / "a" / "1.png")
    (tmp_path / "folder" / "b").mkdir()
    (tmp_path / "folder" / "b" / "bad.png").write_bytes(b"\x89PNG nonsense")
    with pytest.raises(DataError, match=r"bad\.png: not a readable image.*remove it"):
        read_images(tmp_path / "folder", size=None)


def test_an_idx_header_is_not_believed(tmp_path: Path) -> None:
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 2**31)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + b"x")
    idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(1, np.uint8))
    with pytest.raises(DataError, match="1 bytes of data, its header says"):
        read_images(tmp_path, size=None)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures in class folders"):
        read_images(tmp_path, size=None)
    with pytest.raises(DataError, match="no such file or folder"):
        read_images(tmp_path / "nothing", size=None)
