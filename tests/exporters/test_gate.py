"""What stands between an export and its place."""

import pytest
from family_cases import SPECS
from needs import need_module

import nas
from nas.artifact import read_manifest
from nas.errors import ExportError, InputError, NotFoundError, ParityError
from nas.exporters import make_exporter, packages
from nas.exporters.gate import gate_inputs
from nas.exporters.placing import place_export
from nas.model import load_folder


@pytest.fixture(autouse=True)
def transformers():
    need_module("transformers", "pip install 'transformer-nas[hf]'")


class EditedExporter:
    """The stock files with one weight changed."""

    bound = 1e-5

    def __init__(self, key):
        self._inner, self._key = make_exporter("hf", {}), key
        self.refuse, self.open = self._inner.refuse, self._inner.open

    def write(self, model, folder):
        from safetensors.torch import load_file, save_file

        self._inner.write(model, folder)
        file = folder / "model.safetensors"
        state = load_file(file)
        state[self._key].view(-1)[0] += 0.5
        save_file(state, file, {"format": "pt"})


def test_export_that_differs_is_not_put_in_place(stored):
    folder = stored("bert")
    model = load_folder(folder, device="cpu")
    exporter = EditedExporter("classifier.bias")
    with pytest.raises(ParityError, match=r"export to hf: logits differ by 0\.5, allowed is 1e-05"):
        place_export(exporter, model, "hf", None)
    assert list((folder / "exports").iterdir()) == []
    assert read_manifest(folder).exports == {}


def test_older_export_stays_where_the_new_one_differs(stored, tmp_path):
    folder = stored("bert")
    out = tmp_path / "out"
    done = nas.export(folder, "hf", out)
    assert nas.export(folder, "hf", out).difference == done.difference  # replaces its like
    kept = (out / "model.safetensors").read_bytes()
    with pytest.raises(ParityError):
        place_export(EditedExporter("classifier.bias"), load_folder(folder), "hf", out)
    assert (out / "model.safetensors").read_bytes() == kept
    assert read_manifest(folder).exports["hf"].path == str(out)


def test_missing_key_in_the_native_files_fails_the_gate(stored):
    from safetensors.torch import load_file, save_file

    folder = stored("bert")
    file = nas.export(folder, "hf").path / "model.safetensors"
    state = load_file(file)
    del state["classifier.bias"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(ParityError, match=r"transformers reports missing keys: classifier\.bias"):
        nas.export(folder, "hf", check=True)


def test_place_that_holds_something_else_is_refused(stored, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"mine: holds something that is not an export; choose"):
        nas.export(stored("bert"), "hf", tmp_path / "mine")


def test_check_of_no_export_or_of_another_models_says_so(stored, tmp_path):
    with pytest.raises(ExportError, match=r"no export to hf here .* without --check"):
        nas.export(stored("bert"), "hf", check=True)
    nas.export(stored("vit"), "hf", tmp_path / "out")
    with pytest.raises(ExportError, match=r"is an export of other weights or to another format"):
        nas.export(tmp_path / "bert", "hf", tmp_path / "out", check=True)


def test_unknown_format_and_option_are_named(stored):
    with pytest.raises(NotFoundError, match=r"got format 'onxn', expected hf, onnx, .*'onnx'\?"):
        nas.export(stored("bert"), "onxn")
    with pytest.raises(InputError, match=r"export to hf: has no option 'int8'; leave it out"):
        nas.export(stored("vit"), "hf", int8=True)


def test_missing_package_is_named_with_its_command():
    expected = r"export to onnx needs no_such_thing; run: pip install 'transformer-nas\[onnx\]'"
    with pytest.raises(ExportError, match=expected):
        packages.need_packages("onnx", "onnx", "numpy", "no_such_thing")


def test_int8_without_data_to_measure_on_is_refused_before_anything_is_written(stored):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need_module(module, "pip install 'transformer-nas[onnx]'")
    folder = stored("bert")
    with pytest.raises(ExportError, match=r"int8 is measured on validation data, .* --data"):
        nas.export(folder, "onnx", int8=True)
    assert not (folder / "exports").exists()


def test_saved_anew_a_model_has_no_exports(stored, tmp_path):
    folder = stored("bert")
    nas.export(folder, "hf")
    nas.save(nas.load(folder, device="cpu"), tmp_path / "again")
    assert read_manifest(tmp_path / "again").exports == {}


@pytest.mark.parametrize("head", SPECS)
def test_gate_tries_several_batches_and_lengths(head):
    shapes = [tuple(next(iter(given.values())).shape) for given in gate_inputs(SPECS[head])]
    assert len({shape[0] for shape in shapes}) >= 2
    assert head == "classify_image" or len({shape[1] for shape in shapes}) == 3
