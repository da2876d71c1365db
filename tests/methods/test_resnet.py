"""Residual networks at any width, held against timm's."""

from __future__ import annotations

import pytest
import timm
import torch
from handmade import noise
from torch.nn import functional

from automl_ad.methods.resnet import residual_blocks, resnet18


def test_at_the_published_width_it_is_timms() -> None:
    theirs, ours = timm.create_model("resnet18", num_classes=0).eval(), resnet18(3, 64).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = noise(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.forward_features(images))


@pytest.mark.parametrize(("halvings", "shape"), [(2, (6, 16)), (3, (12, 8)), (4, (24, 4)), (5, (48, 2))])
def test_every_halving_doubles_the_channels(halvings: int, shape: tuple[int, int]) -> None:
    encoded = resnet18(5, 6, halvings)(torch.zeros(2, 5, 64, 64))
    assert encoded.shape == (2, shape[0], shape[1], shape[1])


def test_residual_blocks_by_hand() -> None:
    torch.manual_seed(0)
    (block,) = residual_blocks(3, 4, 1, stride=2).eval()
    image = noise(1, 3, 6, 6)
    with torch.no_grad():
        inner = functional.conv2d(image, block.conv1.weight, stride=2, padding=1).relu() / (1 + 1e-5) ** 0.5
        direct = functional.conv2d(inner, block.conv2.weight, padding=1) / (1 + 1e-5) ** 0.5
        beside = functional.conv2d(image, block.downsample[0].weight, stride=2) / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(block(image), (direct + beside).relu())
    assert len(residual_blocks(4, 4, 3)) == 3
    assert residual_blocks(4, 4, 1)[0].downsample is None
