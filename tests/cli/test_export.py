"""`nas export` as it is typed."""

import re

import pytest
from needs import need_module

from nas.artifact import read_manifest


@pytest.fixture(scope="module")  # before a test's surroundings lose the variable CI
def transformers():
    need_module("transformers", "pip install 'transformer-nas[hf]'")


@pytest.fixture(scope="module")
def onnx():
    for module in ("onnx", "onnxscript", "onnxruntime"):
        need_module(module, "pip install 'transformer-nas[onnx]'")


def test_export_says_which_model_where_and_how_far_off(nas, own_place, transformers):
    found = nas("export", "--to", "hf")
    assert found.code == 0
    how, where, parity = found.out.splitlines()
    assert re.fullmatch(r"study tiny, the newest in studies, #\d+", how)
    path = re.fullmatch(r"export  (studies/tiny/models/\w+/exports/hf) \(.+ kB\)", where)[1]
    assert "allowed is 1e-05" in parity
    folder = own_place / path
    assert read_manifest(folder.parents[1]).exports["hf"].passed
    assert nas("export", "tiny", "--to", "hf", "--check").code == 0
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 0x40  # the exponent of a weight
    weights.write_bytes(content)
    found = nas("export", "tiny", "--to", "hf", "--check")
    assert found.code == 1
    assert re.fullmatch(r"nas: export to hf: .+ differ by .+, allowed is 1e-05\n", found.err)


def test_export_goes_where_it_is_told(nas, own_place, transformers):
    assert nas("export", "tiny", "out", "--to", "hf").code == 0
    assert (own_place / "out" / "config.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "export: name a format with --to: hf, onnx, tensorflow, torch"),
        (("--to", "jax"), "export: got format 'jax', expected hf, onnx, tensorflow, torch"),
        (("--to", "torch", "--int8"), "export to torch: has no option 'int8'; leave it out"),
        (("--to", "torch", "--check"), "can run code that it holds"),
        (("--to", "torch", "--check", "--trust"), "no export to torch here"),
    ],
)
def test_mistake_is_one_line_and_exit_2(nas, place, arguments, problem):
    found = nas("export", "tiny", *arguments)
    assert found.code == 2
    assert problem in found.err
    assert len(found.err.splitlines()) == 1


@pytest.mark.slow
def test_int8_is_measured_on_the_studys_validation_data(nas, own_place, onnx):
    found = nas("export", "tiny", "--to", "onnx", "--int8")
    assert found.code == 0
    assert "int8 size" in found.out
    assert "int8 speed" in found.out
    change = re.search(r"int8 val_loss +\S+, ([+-]\S+) to fp32", found.out)
    assert abs(float(change[1])) < 0.05  # of a model of 2,000 weights
    (manifest,) = (own_place / "studies/tiny/models").glob("*/exports/onnx/model_int8.onnx")
    figures = read_manifest(manifest.parents[2]).exports["onnx"].figures
    assert figures["int8_bytes"] == manifest.stat().st_size
    checked = nas("export", "tiny", "--to", "onnx", "--check")
    assert checked.code == 0
    assert "int8 val_loss" in checked.out
