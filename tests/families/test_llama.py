"""The llama family is exactly the native class, and its closed forms are torch's counts."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stand_ins import draw_matrices, write_byte_tokenizer
from torch.utils.flop_counter import FlopCounterMode

from nas.artifact import Manifest
from nas.artifact.manifest import PADDED
from nas.artifact.writing import write_model
from nas.families import architecture, cost_of, module_class, shape_of
from nas.records import Architecture, TaskSpec

SPEC = TaskSpec(
    task="language_modeling",
    head="causal_lm",
    vocab_size=257,
    context=32,
    bos_token_id=256,
    eos_token_id=256,
)


def random_fields(seed: int) -> dict:
    draw = random.Random(seed)
    n_head = draw.choice([1, 2, 3, 4, 6])
    return {
        "n_layer": draw.randint(1, 4),
        "d_model": draw.choice([24, 32, 48, 96]),
        "n_head": n_head,
        "n_kv_head": draw.choice([kv for kv in range(1, n_head + 1) if n_head % kv == 0]),
        "head_dim": draw.choice([2, 8, 16, 20]),
        "d_ff": draw.randint(1, 200),
        "tied": draw.random() < 0.5,
    }


NATIVE = {
    "smallest": {"n_layer": 1, "d_model": 2, "n_head": 1, "d_ff": 1},
    "large": {"n_layer": 6, "d_model": 256, "n_head": 8, "n_kv_head": 2, "d_ff": 1024},
    "untied": {"n_layer": 2, "d_model": 32, "n_head": 2, "d_ff": 48, "tied": False},
    "indivisible": {"n_layer": 2, "d_model": 40, "n_head": 3, "head_dim": 16, "d_ff": 64},
    **{f"random{seed}": random_fields(seed) for seed in range(10)},
}
PER_LAYER = {
    "n_layer": 3,
    "d_model": 48,
    "n_head": 6,
    "n_kv_head": [1, 2, 3],
    "d_ff": [32, 80, 64],
}


def random_network(arch: Architecture) -> torch.nn.Module:
    network = module_class("llama")(shape_of(arch), SPEC).eval()
    generator = torch.Generator().manual_seed(0)
    draw_matrices(network, generator)
    for weight in network.parameters():  # norms that are not all ones, or they test nothing
        if weight.ndim == 1:
            weight.data.uniform_(0.5, 1.5, generator=generator)
    return network


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_tokenizer(folder, 32)
    return folder


def write(folder: Path, fields: dict, tokenizer_dir: Path) -> torch.nn.Module:
    arch = architecture("llama", **fields)
    network = random_network(arch)
    manifest = Manifest(architecture=arch, task_spec=SPEC)
    write_model(folder, network.state_dict(), manifest, processor_dir=tokenizer_dir)
    return network


def assert_stock_model_agrees(folder: Path, network: torch.nn.Module) -> None:
    from transformers import AutoModelForCausalLM

    stock, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    ids = torch.randint(0, SPEC.vocab_size, (2, SPEC.context))
    with torch.no_grad():
        assert (stock(ids).logits - network(ids)).abs().max() < 1e-5


@pytest.mark.parametrize("name", NATIVE)
def test_stored_folder_is_the_native_model(name: str, tmp_path: Path, tokenizer_dir: Path) -> None:
    network = write(tmp_path / "model", NATIVE[name], tokenizer_dir)
    assert_stock_model_agrees(tmp_path / "model", network)


def test_padded_copy_is_the_native_model_where_layers_differ(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    network = write(tmp_path / "model", PER_LAYER, tokenizer_dir)
    assert not (tmp_path / "model" / "config.json").exists()
    assert_stock_model_agrees(tmp_path / "model" / PADDED, network)


WITHOUT_NAS = """
import sys
sys.modules["nas"] = None  # any import of it fails
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

for folder, golden in (sys.argv[1:3], sys.argv[3:5]):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    stored = load_file(golden)
    with torch.no_grad():
        assert (model(stored["ids"]).logits - stored["logits"]).abs().max() < 1e-5
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "na\\u00efve \\U0001f600 <|endoftext|>"
    ids = tokenizer(text)["input_ids"]
    assert ids == [*text[:-13].encode(), 256], ids
    assert tokenizer.decode(ids) == text
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 256
"""


def test_stored_folder_opens_without_nas(tmp_path: Path, tokenizer_dir: Path) -> None:
    native, varied = tmp_path / "native", tmp_path / "varied"
    write(native, NATIVE["indivisible"], tokenizer_dir)
    write(varied, PER_LAYER, tokenizer_dir)
    golden = "golden.safetensors"
    arguments = [native, native / golden, varied / PADDED, varied / golden]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NAS, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kernel", ["sdpa", "bmm"])
def test_step_by_step_logits_equal_the_whole_pass(kernel: str, batch: int) -> None:
    network = random_network(architecture("llama", **PER_LAYER))
    network.kernel = kernel
    ids = torch.randint(0, SPEC.vocab_size, (batch, 9))
    with torch.no_grad():
        first, past = network.step(ids[:, :4], None)
        second, past = network.step(ids[:, 4:8], past)
        third, _ = network.step(ids[:, 8:], past)
        stepped = torch.cat((first, second, third), dim=1)
        assert torch.allclose(stepped, network(ids), atol=1e-5)


def test_logits_never_depend_on_later_tokens() -> None:
    network = random_network(architecture("llama", **PER_LAYER))
    ids = torch.randint(0, SPEC.vocab_size, (1, 12))
    changed = ids.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % SPEC.vocab_size
    with torch.no_grad():
        assert torch.equal(network(ids)[:, :8], network(changed)[:, :8])


def test_training_and_plain_formulas_agree() -> None:
    network = random_network(architecture("llama", **PER_LAYER))
    ids = torch.randint(0, SPEC.vocab_size, (2, 16))
    with torch.no_grad():
        plain = network(ids)
    assert torch.allclose(network(ids), plain, atol=1e-5)


@pytest.mark.parametrize("fields", [*NATIVE.values(), PER_LAYER], ids=[*NATIVE, "per_layer"])
def test_closed_form_params_and_flops_equal_torch(fields: dict) -> None:
    arch = architecture("llama", **fields)
    network = random_network(arch)
    network.kernel = "bmm"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(2, SPEC.context, dtype=torch.long))
    cost = cost_of(arch, SPEC, context=SPEC.context, batch=2)
    assert cost["params"] == sum(weight.numel() for weight in network.parameters())
    assert cost["flops_per_token"] * 2 * SPEC.context == counter.get_total_flops()


def saved_bytes(network: torch.nn.Module, ids: torch.Tensor) -> int:
    """Memory that a forward pass holds for the backward pass, weights apart."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(ids)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
    assert loss.requires_grad  # the graph, and with it every storage, is still alive here
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"n_layer": 4, "d_model": 128, "n_head": 4, "d_ff": 384},
        {"n_layer": 2, "d_model": 64, "n_head": 4, "n_kv_head": 2, "d_ff": [96, 256]},
    ],
    ids=["plain", "per_layer"],
)
@pytest.mark.parametrize("kernel", ["bmm", "sdpa"])
def test_training_memory_is_within_15_percent_of_what_is_saved(fields: dict, kernel: str) -> None:
    arch = architecture("llama", **fields)
    network = random_network(arch).train()
    network.kernel = kernel
    measured = saved_bytes(network, torch.randint(0, SPEC.vocab_size, (16, SPEC.context)))
    state = 16 * sum(weight.numel() for weight in network.parameters())
    closed = cost_of(arch, SPEC, context=SPEC.context, batch=16)["train_memory_bytes"]
    assert closed == pytest.approx(state + measured, rel=0.15)
