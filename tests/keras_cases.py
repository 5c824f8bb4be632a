"""Models to try in Keras, one a family and more."""

import torch
from family_cases import CONSTANTS, SPECS
from stand_ins import draw_matrices

from nas.artifact import Manifest
from nas.artifact.writing import write_model
from nas.families import architecture, shape_class
from nas.training.loop import fresh_network

PLAIN = {"n_layer": 2, "d_model": 16, "n_head": 2, "d_ff": 24}
MODELS = {
    "gpt2": PLAIN,
    "bert": PLAIN,
    "vit": PLAIN | {"patch_size": 4},
    "modernbert": PLAIN | {"n_layer": 3, "window": 6, "global_every": 2},
    "blenderbot": PLAIN | {"n_layer_decoder": 1, "n_head_decoder": 4, "d_ff_decoder": 20},
    "llama": PLAIN | {"n_head": 4, "n_kv_head": (1, 2), "d_ff": (24, 16)},
    "llama-odd-heads": PLAIN | {"d_model": 18, "n_head": 4, "head_dim": 6},
    # What KerasHub opens by itself: equal layers, and of gpt2 a feed-forward of four widths.
    "hub_llama": PLAIN | {"n_head": 4, "n_kv_head": 2},
    "hub_llama-untied": PLAIN | {"tied": False},
    "hub_gpt2": PLAIN | {"d_ff": 64},
}
MODELS |= {f"{family}-constants": MODELS[family] | CONSTANTS[family] for family in CONSTANTS}


def family_of(name):
    return name.removeprefix("hub_").partition("-")[0]


def save_case(folder, name):
    """Write a model folder with every weight drawn; return its network."""
    arch = architecture(family_of(name), **MODELS[name])
    spec = SPECS[min(shape_class(arch.family).heads)]
    network, generator = fresh_network(arch, spec, 0).eval(), torch.Generator().manual_seed(0)
    draw_matrices(network, generator)
    for weight in network.parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=0.5, std=0.2, generator=generator)
    write_model(folder, network.state_dict(), Manifest(architecture=arch, task_spec=spec))
    return network
