"""Model folders in Keras on TensorFlow, in an environment of its own that has no torch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from family_cases import CONSTANTS
from keras_cases import MODELS, family_of, save_case
from needs import lack, need_variable
from safetensors.torch import load_file, save_file

from nas.artifact import MANIFEST
from nas.artifact.manifest import GOLDEN
from nas.exporters.gate import gate_inputs
from nas.families import FAMILIES, shape_class
from nas.families.constants import constants_of

HERE = Path(__file__).parent
BOUND = 1e-5  # a tenth of what the gate allows

HUB = [name for name in MODELS if name.startswith("hub_")]
OWN = [name for name in MODELS if name not in HUB]
WHOLE = [name for name in OWN if not name.endswith("-constants")]  # tried in full


def write_case(place, name):
    """Write a model folder, and inputs of several batches and lengths with its logits."""
    network = save_case(place / "models" / name, name)
    (place / "inputs" / name).mkdir(parents=True)
    for number, inputs in enumerate(gate_inputs(network.spec)):
        with torch.no_grad():
            tensors = inputs | {"logits": network(*inputs.values())}
        save_file(tensors, place / "inputs" / name / f"{number}.safetensors")


def edit_manifest(folder, change):
    plain = json.loads((folder / MANIFEST).read_text())
    change(plain)
    (folder / MANIFEST).write_text(json.dumps(plain))


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    size = path.stat().st_size
    edit_manifest(folder, lambda plain: plain["files"][path.name].update(bytes=size))


def link_weights(folder):
    path = folder / "model.safetensors"
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


def as_stock(folder):
    (folder / MANIFEST).unlink()
    (folder / GOLDEN).unlink()


def shape(**fields):
    return lambda folder: edit_manifest(
        folder, lambda plain: plain["architecture"]["shape"].update(fields)
    )


NORM = "model.norm.weight"
GATE = "model.layers.0.mlp.gate_proj.weight"
BROKEN = {
    "no-manifest": (lambda f: (f / MANIFEST).unlink(), "not a complete model folder"),
    "stock": (as_stock, "nas.save(nas.load(FOLDER), NEW) makes one that opens"),
    "missing": (lambda f: edit_weights(f, lambda t: t.pop(NORM)), "weights in"),
    "extra": (
        lambda f: edit_weights(f, lambda t: t.update(more=torch.ones(2))),
        "weights in",
    ),
    "renamed": (lambda f: edit_weights(f, lambda t: t.update(more=t.pop(NORM))), f"lacks '{NORM}'"),
    "half": (
        lambda f: edit_weights(f, lambda t: t.update({NORM: t[NORM].half()})),
        f"'{NORM}' is F16, expected F32",
    ),
    "nan": (lambda f: edit_weights(f, lambda t: t[NORM].fill_(float("nan"))), "not finite"),
    "cut": (lambda f: os.truncate(f / "model.safetensors", 99), "has 99 bytes, expected"),
    "link": (link_weights, "is a link"),
    "other-shape": (shape(d_ff=20), "expected"),
    "transposed": (
        lambda f: edit_weights(f, lambda t: t.update({GATE: t[GATE].T.contiguous()})),
        "expected F32",
    ),
    "huge": (shape(d_model=16384, d_ff=65536, n_layer=256), "bytes of weights, at most"),
    "own-family": (
        lambda f: edit_manifest(f, lambda p: p["architecture"].update(family="mine:Mine")),
        "is code outside nas",
    ),
    "other-head": (
        lambda f: edit_manifest(f, lambda p: p["task_spec"].update(head="seq2seq")),
        "has no head 'seq2seq'",
    ),
}


def run_there(python, script, place, **environment):
    """Run a script of this folder by another environment's Python; return its last line."""
    run = subprocess.run(
        [python, HERE / script, place],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def other_python():
    return need_variable(
        "NAS_KERAS_PYTHON",
        "the Python of an environment with TensorFlow and without torch, made as .ci/run makes it",
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory, other_python):
    place = tmp_path_factory.mktemp("keras")
    for name in MODELS:
        write_case(place, name)
    for name, (spoil, _) in BROKEN.items():
        shutil.copytree(place / "models" / "hub_llama", place / "broken" / name)
        spoil(place / "broken" / name)
    return place


@pytest.fixture(scope="module")
def found(place, other_python):
    return run_there(other_python, "keras_alone.py", place, PYTHONPATH=str(HERE.parent))


@pytest.fixture(scope="module")
def served(place, found, other_python):
    return run_there(other_python, "saved_model_alone.py", place)


def test_every_family_is_tried():
    assert {family_of(name) for name in WHOLE} == set(FAMILIES)


def test_every_constant_is_tried():
    for family in FAMILIES:
        assert set(CONSTANTS.get(family, ())) == constants_of(shape_class(family)), family


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("form", ["loaded", "reopened"])
def test_keras_model_has_the_logits_of_the_torch_model(found, name, form):
    assert found["models"][name][form] <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_saved_model_has_the_logits_with_tensorflow_alone(served, name):
    assert served[name] <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_fit_lowers_the_loss(found, name):
    first, *_, last = found["models"][name]["losses"]
    assert last < 0.99 * first


@pytest.mark.slow
def test_loading_imports_no_torch_and_no_database(found):
    assert found["modules"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_broken_folder_is_refused_in_one_line(found, name):
    message = found["refused"][name]
    assert message is not None
    assert BROKEN[name][1] in message
    assert "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_keras_hub_opens_the_folder_by_itself(found, name):
    assert found["hub"][name]["ours"] <= BOUND
    if found["hub"][name]["hub"] is None:
        lack("needs keras-hub in the environment of NAS_KERAS_PYTHON")
    assert found["hub"][name]["hub"] <= BOUND


@pytest.mark.parametrize(
    ("environment", "before", "problem"),
    [
        ({"KERAS_BACKEND": "jax"}, "", "KERAS_BACKEND: got 'jax', expected 'tensorflow'"),
        ({}, "sys.modules['keras'] = None", "keras is not installed; run: pip install"),
    ],
    ids=["other-backend", "not-installed"],
)
def test_environment_that_cannot_is_told_so_in_one_line(environment, before, problem):
    load = "import nas\ntry: nas.load_keras\nexcept nas.NasError as error: print(error)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; {before}\n{load}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith(problem)
    assert run.stdout.count("\n") == 1
