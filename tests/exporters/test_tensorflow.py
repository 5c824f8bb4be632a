"""Export to TensorFlow, in one environment with torch."""

import json
import zipfile

import numpy as np
import pytest
from keras_cases import save_case
from needs import need_module

import nas
from nas.artifact import read_manifest
from nas.errors import ExportError, ParityError
from nas.exporters import make_exporter

pytestmark = [
    pytest.mark.slow,  # TensorFlow alone takes seconds to import
    # TensorFlow's variables under numpy 2, whenever Keras reads them.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]
INSTALL = 'pip install "transformer-nas[tensorflow]"'


@pytest.fixture(scope="module", autouse=True)
def tensorflow():
    need_module("tensorflow", INSTALL)
    need_module("keras", INSTALL)


@pytest.fixture
def gpt2(tmp_path):
    save_case(tmp_path / "gpt2", "gpt2")
    return tmp_path / "gpt2"


@pytest.mark.parametrize(
    ("name", "writes"),
    [
        ("gpt2", True),
        ("llama", True),
        ("bert", False),
        ("vit", False),
        ("modernbert", False),
        ("blenderbot", True),
        ("modernbert-constants", False),
    ],
)
def test_export_passes_the_gate_with_both_forms(tmp_path, name, writes):
    save_case(tmp_path / name, name)
    done = nas.export(tmp_path / name, "tensorflow")
    assert done.difference <= 1e-5 < done.bound == 1e-4
    assert done.greedy_tokens == (16 if writes else 0)
    assert {path.name for path in done.path.iterdir()} == {
        "export.json", "model.keras", "saved_model", "task.json",
    }  # fmt: skip
    spec = read_manifest(tmp_path / name).task_spec
    assert json.loads((done.path / "task.json").read_text())["head"] == spec.head


def edit_number(path):
    """Make the largest of the last numbers of a file of fp32 numbers larger."""
    content = bytearray(path.read_bytes())
    numbers = np.frombuffer(content, np.float32, count=len(content) // 4)
    place = int(np.flatnonzero((np.abs(numbers) > 0.1) & (np.abs(numbers) < 2))[-1])
    numbers[place] += 1
    path.write_bytes(content)


def edit_keras_file(path):
    import h5py

    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = path.with_suffix(".h5")
    weights.write_bytes(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        found = []
        file.visititems(lambda _, item: found.append(item) if hasattr(item, "shape") else None)
        largest = max(found, key=lambda one: one.size)
        largest[0] = largest[0] + 1
    parts["model.weights.h5"] = weights.read_bytes()
    weights.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_edited_export_fails_the_gate(gpt2):
    done = nas.export(gpt2, "tensorflow")
    assert nas.export(gpt2, "tensorflow", check=True).difference == done.difference
    edit_keras_file(done.path / "model.keras")
    with pytest.raises(ParityError, match=r"logits of model.keras and saved_model differ by"):
        nas.export(gpt2, "tensorflow", check=True)
    (done.path / "model.keras").write_bytes(b"")
    with pytest.raises(ParityError, match="cannot be opened"):
        nas.export(gpt2, "tensorflow", check=True)


def test_edited_saved_model_fails_the_gate(gpt2):
    done = nas.export(gpt2, "tensorflow")
    edit_number(next((done.path / "saved_model" / "variables").glob("*.data*")))
    with pytest.raises(ParityError):
        nas.export(gpt2, "tensorflow", check=True)


def test_family_without_a_keras_model_is_refused(gpt2, monkeypatch):
    from nas.keras import weights

    monkeypatch.delitem(weights.FAMILIES, "gpt2")
    with pytest.raises(ExportError, match="export to tensorflow: family 'gpt2' has no Keras model"):
        nas.export(gpt2, "tensorflow")
    assert not (gpt2 / "exports").exists()
    with pytest.raises(nas.NasError, match="has no option 'int8'"):
        make_exporter("tensorflow", {"int8": True})
