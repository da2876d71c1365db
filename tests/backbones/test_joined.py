from __future__ import annotations

import torch
from random_networks import random_weights

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.network import TimmBackbone
from automl_ad.backbones.weights import Weights

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def test_channels_of_the_network_come_first_and_filters_of_equal_stride_after(resnet18: Weights) -> None:
    network = TimmBackbone("resnet18", resnet18)
    joined = JoinedBackbone(network)
    assert joined.name == "resnet18+filters"
    assert joined.levels == network.levels
    assert joined.describe([-1, -4]) == ([512 + 14, 64 + 14], [32, 4])
    with torch.no_grad():
        for level, found in zip(joined.levels[1:], joined(IMAGES, joined.levels[1:]), strict=True):
            torch.testing.assert_close(found[:, :-14], network(IMAGES, [level])[0])
            assert torch.equal(found[:, -14:], EmbeddedBackbone()(IMAGES, [level])[0])


def test_finest_filters_are_stretched_to_a_finer_network_level(resnet18: Weights) -> None:
    joined = JoinedBackbone(TimmBackbone("resnet18", resnet18))
    with torch.no_grad():
        found = joined(IMAGES, [-5])[0][:, -14:]
    finest = EmbeddedBackbone()(IMAGES, [-4])[0]
    assert found.shape == (1, 14, 32, 48)
    # Every fine sample is 9/16, 3/16, 3/16 and 1/16 of its coarse neighbours.
    expected = (9 * finest[..., 3, 5] + 3 * finest[..., 3, 6] + 3 * finest[..., 4, 5] + finest[..., 4, 6]) / 16
    torch.testing.assert_close(found[..., 7, 11], expected)


def test_transformer_levels_share_one_filter_level() -> None:
    joined = JoinedBackbone(TimmBackbone("vit_tiny_patch16_224", random_weights("vit_tiny_patch16_224")))
    with torch.no_grad():
        found = joined(IMAGES, [-12, -11])
    for level in found:
        assert torch.equal(level[:, -14:], EmbeddedBackbone()(IMAGES, [-2])[0])


def test_tag_names_both_parts(resnet18: Weights) -> None:
    network = TimmBackbone("resnet18", resnet18)
    tag = JoinedBackbone(network).weights_tag
    assert network.weights_tag in tag
    assert EmbeddedBackbone().weights_tag in tag
