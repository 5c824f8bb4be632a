"""The Vision Transformer: patches as the native convolution cuts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from family_cases import SPECS

from nas.errors import ConfigError, ShapeError
from nas.families import architecture, shape_of
from nas.families.vit.module import Patches, Vit
from nas.space import SearchSpace

SPEC = SPECS["classify_image"]
SHAPE = {"n_layer": 1, "d_model": 8, "n_head": 2, "d_ff": 16}


@pytest.mark.parametrize("patch_size", [1, 2, 4, 9])
def test_patches_are_the_convolution_without_the_rest_at_the_edge(patch_size):
    shape = shape_of(architecture("vit", **SHAPE, patch_size=patch_size))
    patches = Patches(shape, SPEC)
    pixels = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    plain = F.conv2d(pixels, patches.projection.weight, patches.projection.bias, patch_size)
    torch.testing.assert_close(patches(pixels), plain.flatten(2).transpose(1, 2))


def test_a_patch_larger_than_the_image_is_refused():
    shape = shape_of(architecture("vit", **SHAPE, patch_size=10))
    with pytest.raises(ShapeError, match="patch_size: 10 is larger than the images, 9 x 9"):
        Vit(shape, replace(SPEC))


def test_no_space_proposes_a_patch_larger_than_the_image():
    plain = {
        "format_version": 1,
        "family": "vit",
        "fixed": {"d_model": 8, "n_head": 2, "d_ff": 16},
        "dimensions": {"n_layer": {"min": 1, "max": 3}, "patch_size": {"choices": [3, 9, 10, 16]}},
    }
    space = SearchSpace.from_plain(plain, where="space", name="patches")
    bound = space.bind(SPEC, context=1, batch=4)
    assert {one.shape["patch_size"] for one in bound.architectures()} == {3, 9}
    drawn = [bound.sample(np.random.default_rng(seed)) for seed in range(20)]
    assert {one.shape["patch_size"] for one in drawn} == {3, 9}
    too_large = architecture("vit", **SHAPE | {"patch_size": 16})
    assert bound.why_infeasible(too_large) == "patches is 0, below min_patches 1"
    with pytest.raises(ConfigError, match="min_patches 1 rules out every shape"):
        space.bind(replace(SPEC, image_size=2), context=1, batch=4)
