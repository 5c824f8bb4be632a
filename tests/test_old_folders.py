"""Model folders of every `format_version` so far stay loadable (written by `fixtures/make.py`)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas.artifact.manifest import FORMAT_VERSION
from nas.families import FAMILIES
from nas.model import load_folder

FIXTURES = Path(__file__).parent / "fixtures"
FOLDERS = sorted(FIXTURES.glob("format_*/*"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_folder_loads_verified_with_its_stored_logits(folder: Path) -> None:
    model = load_folder(folder, device="cpu", verify=True)
    golden = load_file(folder / "golden.safetensors")
    logits = golden.pop("logits")
    inputs = [golden[name] for name in ("ids", "mask", "decoder_ids", "pixels") if name in golden]
    with torch.no_grad():
        assert torch.allclose(model(*inputs), logits, rtol=0, atol=1e-5)
    if model.tokenizer is not None:
        assert model.tokenizer.encode("ab", add_special_tokens=False).ids == [97, 98]


def test_every_family_has_a_folder_of_the_present_format() -> None:
    here = {path.name for path in FOLDERS if path.parent.name == f"format_{FORMAT_VERSION}"}
    assert here >= {*FAMILIES, "llama_per_layer"}


def test_folder_of_layers_that_differ_holds_the_padded_copy() -> None:
    assert (FIXTURES / "format_1/llama_per_layer/exports/hf-padded/model.safetensors").is_file()
