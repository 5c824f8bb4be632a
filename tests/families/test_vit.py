"""The Vision Transformer: patches as the native convolution cuts them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from family_cases import SPECS

from nas.errors import ShapeError
from nas.families import architecture, shape_of
from nas.families.vit.module import Patches, Vit

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
