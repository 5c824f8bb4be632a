"""Models that exporters are tried on, one or two a family."""

from family_cases import CONSTANTS, SPECS
from stand_ins import build

from nas.families import architecture, shape_class
from nas.model import save

SMALL = {"n_layer": 2, "d_model": 32, "n_head": 4, "d_ff": 48}
CASES = {
    "llama": architecture("llama", **SMALL, n_kv_head=2),
    "llama-layers": architecture(
        "llama", **SMALL | {"d_ff": [48, 32]}, n_kv_head=[2, 4], head_dim=6, tied=False
    ),
    "gpt2": architecture("gpt2", **SMALL),
    "bert": architecture("bert", **SMALL),
    "modernbert": architecture("modernbert", **SMALL | {"n_layer": 3}, window=4),
    "vit": architecture("vit", **SMALL, patch_size=3),
    "blenderbot": architecture("blenderbot", **SMALL),
}
CASES |= {
    f"{family}-constants": architecture(family, **CASES[family].shape | fields)
    for family, fields in CONSTANTS.items()
}


def save_case(name, folder):
    """Store a model of a case with every matrix drawn."""
    case = CASES[name]
    (head,) = shape_class(case.family).heads
    save(build(case, SPECS[head], seed=1), folder)
    return folder
