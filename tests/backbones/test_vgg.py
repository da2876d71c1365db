from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_networks import random_weights
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import normalise
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.vgg import VggBackbone, is_vgg
from automl_ad.backbones.weights import Weights
from automl_ad.errors import InputError, WeightsError

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def by_hand(name: str, weights: Weights, reflect: bool) -> list[Tensor]:
    """Every ReLU output of timm's own modules; convolutions after a border drawn by hand where ``reflect``."""
    import timm

    network = timm.create_model(name, pretrained=False, num_classes=7).eval()
    network.load_state_dict(weights.tensors, strict=False)
    maps, found = normalise(IMAGES), []
    for layer in network.features:
        if reflect and isinstance(layer, nn.Conv2d):
            maps = functional.conv2d(functional.pad(maps, (1, 1, 1, 1), mode="reflect"), layer.weight, layer.bias)
        else:
            maps = layer(maps)
        if isinstance(layer, nn.ReLU):
            found.append(maps.clone())
    return found


def test_names() -> None:
    assert all(is_vgg(name) for name in ("vgg19", "vgg11_bn", "vgg19.tv_in1k", "vgg16+reflect+filters"))
    assert not any(is_vgg(name) for name in ("repvgg_a0", "embedded", "resnet18+filters"))


def test_levels_of_vgg19_are_its_sixteen_relus() -> None:
    backbone = VggBackbone("vgg19", random_weights("vgg19"))
    assert backbone.levels == tuple(range(-16, 0))
    assert backbone.strides == (1, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16)
    assert backbone.channels == (64, 64, 128, 128, 256, 256, 256, 256, *(512,) * 8)
    assert sum(backbone.describe(range(-16, -4))[0]) == 3456
    assert sum(backbone.channels) == 5504


@pytest.mark.parametrize(
    ("name", "count", "reflect"), [("vgg11", 8, False), ("vgg11", 8, True), ("vgg13_bn", 10, True)]
)
@torch.no_grad()
def test_levels_equal_the_network_run_by_hand(vgg11: Weights, name: str, count: int, reflect: bool) -> None:
    weights = vgg11 if name == "vgg11" else random_weights(name)
    backbone = VggBackbone(name, weights, reflect)
    expected = by_hand(name, weights, reflect)
    assert len(expected) == len(backbone.levels) == count
    for found, right, channels, stride in zip(
        backbone(IMAGES), expected, backbone.channels, backbone.strides, strict=True
    ):
        assert found.shape == (2, channels, 64 // stride, 96 // stride)
        assert float(right.max()) > 0
        torch.testing.assert_close(found, right)
    chosen = backbone(IMAGES, [-1, -5, -count, -1])
    for found, level in zip(chosen, [-1, -5, -count, -1], strict=True):
        torch.testing.assert_close(found, expected[level])


@torch.no_grad()
def test_reflection_changes_the_border_and_what_it_reaches_alone(vgg11: Weights) -> None:
    (zeros,), (mirrored,) = (VggBackbone("vgg11", vgg11, reflect)(IMAGES, [-8]) for reflect in (False, True))
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(zeros[inside], mirrored[inside])
    assert not torch.allclose(zeros[..., 0, :], mirrored[..., 0, :])


@torch.no_grad()
def test_a_flat_image_has_no_border_with_reflection(vgg11: Weights) -> None:
    for maps in VggBackbone("vgg11", vgg11, reflect=True)(torch.full((1, 3, 64, 64), 0.7)):
        torch.testing.assert_close(maps, maps[..., :1, :1].expand_as(maps))


@torch.no_grad()
def test_the_smallest_image_can_be_reflected(vgg11: Weights) -> None:
    assert VggBackbone("vgg11", vgg11, reflect=True)(IMAGES[..., :32, :32], [-1])[0].shape == (2, 512, 2, 2)


def test_tags_tell_levels_and_borders_apart_and_stay_when_built_again(vgg11: Weights) -> None:
    tags = [VggBackbone("vgg11", vgg11, reflect).weights_tag for reflect in (False, True)]
    assert len({vgg11.tag, *tags}) == 3
    again = [VggBackbone("vgg11", replace(vgg11, tag=tag), tag == tags[1]).weights_tag for tag in tags]
    assert again == tags
    assert not any("+" in tag for tag in tags)  # the filters' tag follows a plus


@pytest.mark.parametrize("reflect", [False, True])
@torch.no_grad()
def test_tensors_are_enough_to_build_the_levels_again(vgg11: Weights, reflect: bool) -> None:
    backbone = VggBackbone("vgg11", vgg11, reflect)
    tensors = backbone.tensors([-7, -5])
    assert [name.split(".")[1] for name in tensors if name.endswith("weight")] == ["0", "3", "6", "8"]
    again = VggBackbone("vgg11", replace(vgg11, tensors=tensors), reflect)
    assert again.levels == (-8, -7, -6, -5)
    assert (again.channels, again.strides) == ((64, 128, 256, 256), (1, 2, 4, 4))
    for found, expected in zip(again(IMAGES, [-5, -7]), backbone(IMAGES, [-5, -7]), strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(InputError, match="has no level -4;"):
        again(IMAGES, [-4])


def test_weights_of_another_vgg_are_refused(vgg11: Weights) -> None:
    with pytest.raises(WeightsError, match="do not fit backbone vgg11_bn"):
        VggBackbone("vgg11_bn", vgg11)


@torch.no_grad()
def test_filters_stand_beside_every_relu(vgg11: Weights) -> None:
    network = VggBackbone("vgg11", vgg11, reflect=True)
    joined = JoinedBackbone(network)
    assert joined.name == "vgg11+reflect+filters"
    (maps,) = joined(IMAGES, [-8])
    assert maps.shape == (2, 64 + EmbeddedBackbone().channels[0], 64, 96)
    torch.testing.assert_close(maps[:, :64], network(IMAGES, [-8])[0])


def test_backbone_is_frozen_and_sheds_its_classifier(vgg11: Weights) -> None:
    backbone = VggBackbone("vgg11", vgg11)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert sum(p.numel() for p in backbone.parameters()) == sum(t.numel() for t in vgg11.tensors.values())
