"""What families are tried on, and what a training step of theirs keeps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nas.records import TaskSpec

LABELS = tuple("abcdefg")
SPECS = {
    "causal_lm": TaskSpec(
        task="language_modeling", head="causal_lm", vocab_size=97, context=40, bos_token_id=0,
        eos_token_id=0,
    ),
    "classify": TaskSpec(
        task="text_classification", head="classify", vocab_size=97, context=40, labels=LABELS,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    ),
    "classify_image": TaskSpec(
        task="image_classification", head="classify_image", vocab_size=0, context=1,
        labels=LABELS, image_size=9, n_channel=3,
    ),
    "seq2seq": TaskSpec(
        task="sequence_to_sequence", head="seq2seq", vocab_size=97, context=24, bos_token_id=1,
        eos_token_id=2, pad_token_id=0,
    ),
}  # fmt: skip

# Fields that stock models differ in (see `families.constants`): every one away from its default.
CONSTANTS = {
    "llama": {"rope_theta": 500_000.0, "norm_eps": 1e-2},
    "gpt2": {"norm_eps": 1e-2},
    "bert": {"norm_eps": 1e-2},
    "vit": {"norm_eps": 1e-2},
    "modernbert": {"global_theta": 9e4, "local_theta": 5e3, "norm_eps": 1e-2, "first_token": True},
    "blenderbot": {"scale_embedding": True},
}


def saved_bytes(network: nn.Module, inputs: list, spec: TaskSpec) -> int:
    """Bytes of distinct storages that autograd saves in a training step, weights left out."""
    own = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    saved: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network(*inputs)
        targets = torch.zeros(logits.shape[:-1], dtype=torch.int64).flatten()
        F.cross_entropy(logits.flatten(0, -2), targets)
    return sum(saved.values())
