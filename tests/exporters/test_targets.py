"""What holds for every target: each family passes the gate in the foreign runtime."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from export_cases import CASES, save_case
from needs import need_module

import nas
from nas.artifact import read_manifest
from nas.errors import ExportError, ParityError
from nas.records import WRITING_HEADS

ROOT = Path(nas.__file__).parents[1]
MODULES = {"hf": ["transformers"], "onnx": ["onnx", "onnxscript", "onnxruntime"], "torch": []}
GREEDY = {"hf", "onnx"}  # targets that also write

TRACED = [
    # Constants become part of a trace like all else that is computed: two families show it.
    name
    for name in CASES
    if not name.endswith("-constants") or name.startswith(("llama", "blenderbot"))
]
PAIRS = [
    # Tracing takes seconds: of those targets a single family is quick, below.
    pytest.param(to, name, marks=[] if to == "hf" else pytest.mark.slow)
    for to in MODULES
    for name in (CASES if to == "hf" else TRACED)
    if to == "hf" or name != "vit"
]


def need(to):
    for module in MODULES[to]:
        need_module(module, "pip install 'transformer-nas[hf,onnx]'")


def assert_passed_and_noted(folder, to, done):
    assert done.path == folder / "exports" / to
    assert done.difference <= done.bound
    manifest = read_manifest(folder)
    writes = manifest.task_spec.head in WRITING_HEADS
    assert (done.greedy_tokens > 0) == (writes and to in GREEDY)
    note = manifest.exports[to]
    assert (note.path, note.passed) == (f"exports/{to}", True)
    assert (note.difference, note.bound) == (done.difference, done.bound)
    assert nas.load(folder, verify=True, device="cpu").manifest == manifest
    again = nas.export(folder, to, check=True, trust=to == "torch")
    assert again.difference == done.difference


@pytest.fixture(scope="module")
def image_model(tmp_path_factory):
    """A stored model with its exports to onnx and torch."""
    for to in ("onnx", "torch"):
        need(to)
    folder = save_case("vit", tmp_path_factory.mktemp("vit") / "model")
    return folder, {to: nas.export(folder, to) for to in ("onnx", "torch")}


@pytest.mark.parametrize(("to", "name"), PAIRS)
def test_export_passes_the_gate_and_is_noted(stored, to, name):
    need(to)
    folder = stored(name)
    assert_passed_and_noted(folder, to, nas.export(folder, to))


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_traced_export_passes_the_gate_and_is_noted(image_model, to):
    folder, done = image_model
    assert_passed_and_noted(folder, to, done[to])


def test_one_weight_edited_in_the_onnx_file_fails_the_gate(image_model, tmp_path):
    import onnx
    from onnx import numpy_helper

    folder = shutil.copytree(image_model[0], tmp_path / "model")
    file = folder / "exports" / "onnx" / "model.onnx"
    graph = onnx.load(file)
    weight = max(graph.graph.initializer, key=lambda one: one.ByteSize())
    edited = numpy_helper.to_array(weight).copy()
    edited.flat[0] += 1.0
    weight.CopyFrom(numpy_helper.from_array(edited, weight.name))
    onnx.save(graph, file)
    with pytest.raises(ParityError, match=r"onnx: logits differ by .*, allowed is 0\.0001"):
        nas.export(folder, "onnx", check=True)
    assert not read_manifest(folder).exports["onnx"].passed
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ParityError, match=r"model\.onnx: onnxruntime cannot open it"):
        nas.export(folder, "onnx", check=True)


def test_onnx_file_names_its_sizes_and_holds_no_path_of_this_machine(image_model):
    import onnxruntime

    file = image_model[0] / "exports" / "onnx" / "model.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    assert (pixels.name, pixels.shape) == ("pixel_values", ["batch", 3, 9, 9])
    assert str(ROOT).encode() not in file.read_bytes()
    (logits,) = session.run(None, {"pixel_values": np.zeros((5, 3, 9, 9), np.float32)})
    assert logits.shape == (5, 7)


def test_pt2_file_runs_with_torch_alone_and_holds_no_path_of_this_machine(image_model):
    file = image_model[0] / "exports" / "torch" / "model.pt2"
    network = torch.export.load(file).module()
    assert network(torch.zeros(4, 3, 9, 9)).shape == (4, 7)
    with zipfile.ZipFile(file) as archive:
        assert all(str(ROOT).encode() not in archive.read(name) for name in archive.namelist())


def test_check_of_a_file_that_may_run_code_needs_trust(image_model):
    with pytest.raises(ExportError, match=r"export to torch: .* can run code .* \(--trust\)"):
        nas.export(image_model[0], "torch", check=True)


@pytest.mark.slow
def test_decoder_in_onnx_goes_on_from_its_cache(stored):
    need("onnx")
    import onnxruntime

    folder = stored("llama")
    file = nas.export(folder, "onnx").path / "model.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    sizes = {given.name: given.shape for given in session.get_inputs()}
    assert sizes["input_ids"] == ["batch", "length"]
    assert sizes["past_key_values.1.value"] == ["batch", 2, "past", 8]
    ids = np.arange(10).reshape(2, 5)
    empty = {name: np.zeros((2, 2, 0, 8), np.float32) for name in sizes if "past" in name}
    names = [output.name.replace("present", "past_key_values") for output in session.get_outputs()]
    first = dict(zip(names, session.run(None, {"input_ids": ids[:, :3]} | empty), strict=True))
    past = {name: value for name, value in first.items() if "past" in name}
    logits = session.run(None, {"input_ids": ids[:, 3:]} | past)[0]
    with torch.no_grad():
        whole = nas.load(folder, device="cpu")(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(logits, whole[:, 3:], rtol=0, atol=1e-5)
