"""Models and tokenizers for tests that need no training."""

import json
from pathlib import Path

import torch

import nas.model
from nas.data import bpe, byte_level
from nas.model import Model
from nas.records import Architecture, TaskSpec


def build(architecture: Architecture, task_spec: TaskSpec, *, seed: int = 0) -> Model:
    """A model with every matrix drawn: fresh blocks are the identity and would hide faults."""
    model = nas.model.build(architecture, task_spec, seed=seed)
    draw_matrices(model, torch.Generator().manual_seed(seed))
    return model


def draw_matrices(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw every matrix of a network anew."""
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.5 * weight.shape[1] ** -0.5, generator=generator)


def write_byte_tokenizer(folder: Path, context: int) -> Path:
    """Write the byte-level tokenizer's files into a folder and return it."""
    end = byte_level.END_OF_TEXT
    config = bpe.tokenizer_config(context, bos=end, eos=end)
    (folder / "tokenizer.json").write_text(byte_level.tokenizer_json(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
