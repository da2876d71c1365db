from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_networks import random_weights
from torch import Tensor

from automl_ad.backbones.base import normalise
from automl_ad.backbones.network import TimmBackbone
from automl_ad.backbones.weights import Weights
from automl_ad.backbones.zoo import build_backbone
from automl_ad.errors import InputError, WeightsError

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def without(weights: Weights, *prefixes: str) -> Weights:
    return replace(weights, tensors={k: v for k, v in weights.tensors.items() if not k.startswith(prefixes)})


@torch.no_grad()
def run(backbone: torch.nn.Module, levels: list[int] | None = None) -> list[Tensor]:
    found: list[Tensor] = backbone(IMAGES, levels)
    return found


def test_normalise_gives_zero_mean_and_unit_deviation() -> None:
    shades = torch.tensor([[0.485, 0.456, 0.406], [0.485 + 0.229, 0.456 + 0.224, 0.406 + 0.225]])[:, :, None, None]
    expected = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 1, 1)
    torch.testing.assert_close(normalise(shades), expected)


def test_levels_count_from_the_deepest(resnet18: Weights) -> None:
    backbone = TimmBackbone("resnet18", resnet18)
    assert backbone.levels == (-5, -4, -3, -2, -1)
    assert backbone.describe([-1, -4]) == ([512, 64], [32, 4])
    every = run(backbone)
    assert [tuple(level.shape) for level in every] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    for found, index in zip(run(backbone, [-1, -3, -1]), [4, 2, 4], strict=True):
        torch.testing.assert_close(found, every[index])


def test_features_equal_those_of_the_plain_network(resnet18: Weights) -> None:
    import timm

    network = timm.create_model("resnet18", pretrained=False, num_classes=7).eval()
    network.load_state_dict(resnet18.tensors)
    with torch.no_grad():
        expected = network.forward_features(normalise(IMAGES))
    torch.testing.assert_close(run(TimmBackbone("resnet18", resnet18), [-1])[0], expected)


def test_weights_that_end_early_give_the_levels_they_hold(resnet18: Weights) -> None:
    part = TimmBackbone("resnet18", without(resnet18, "layer4.", "fc."))
    assert part.levels == (-5, -4, -3, -2)
    torch.testing.assert_close(run(part, [-2]), run(TimmBackbone("resnet18", resnet18), [-2]))
    with pytest.raises(InputError, match=r"resnet18 has no level -1;.*complete weights"):
        part(IMAGES, [-1])


@pytest.mark.parametrize(
    ("first_missing", "levels"), [("layer1.1.bn2.bias", (-5,)), ("layer3.0.conv1.weight", (-5, -4, -3))]
)
def test_incomplete_levels_are_not_offered(resnet18: Weights, first_missing: str, levels: tuple[int, ...]) -> None:
    names = list(resnet18.tensors)
    cut = {name: resnet18.tensors[name] for name in names[: names.index(first_missing)]}
    assert TimmBackbone("resnet18", replace(resnet18, tensors=cut)).levels == levels


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: without(w, "bn1.bias"), "bn1.bias is missing"),
        (lambda w: without(w, "layer2.0.conv1"), "layer2.0.conv1.weight is missing although"),
        (lambda w: replace(w, tensors={}), "conv1.weight is missing"),
        (lambda w: replace(w, tensors={**w.tensors, "bn1.bias": torch.zeros(3)}), r"bn1.bias has shape \[3\]"),
        (lambda w: replace(w, tensors={f"module.{k}": v for k, v in w.tensors.items()}), "conv1.weight is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(resnet18: Weights, change: object, reason: str) -> None:
    assert callable(change)
    with pytest.raises(WeightsError, match=rf"drawn at random do not fit backbone resnet18 .*{reason}"):
        TimmBackbone("resnet18", change(resnet18))


def test_weights_of_a_deeper_network_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"layer1\.2\.conv1\.weight belongs to a deeper network"):
        TimmBackbone("resnet18", random_weights("resnet34"))


def test_weights_of_a_shallower_network_are_refused(resnet18: Weights) -> None:
    with pytest.raises(WeightsError, match="is missing although"):
        TimmBackbone("resnet34", resnet18)


def test_older_files_without_step_counters_are_complete(resnet18: Weights) -> None:
    tensors = {k: v for k, v in resnet18.tensors.items() if not k.endswith("num_batches_tracked")}
    assert TimmBackbone("resnet18", replace(resnet18, tensors=tensors)).levels == (-5, -4, -3, -2, -1)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("resnet18", [-5]),
        ("resnet18", [-4, -2]),
        ("resnet18", [-1]),
        ("resnet18+filters", [-3, -4]),
        ("densenet121", [-4, -3]),
        ("mobilenetv3_small_050", [-5, -1]),
        ("vit_tiny_patch16_224", [-9, -2]),
        ("vit_tiny_patch16_224+filters", [-12]),
        ("convnext_atto", [-2]),
    ],
)
def test_tensors_are_enough_to_build_the_backbone_again(name: str, levels: list[int]) -> None:
    backbone = build_backbone(name, random_weights(name.removesuffix("+filters")))
    tensors = backbone.tensors(levels)
    again = build_backbone(name, Weights({k: v.clone() for k, v in tensors.items()}, "bundle", "again"))
    assert set(levels) <= set(again.levels)
    for found, expected in zip(run(again, levels), run(backbone, levels), strict=True):
        assert torch.equal(found, expected)


def test_shallow_levels_need_few_tensors(resnet18: Weights) -> None:
    names = TimmBackbone("resnet18", resnet18).tensors([-5])
    assert {name.split(".")[0] for name in names} == {"conv1", "bn1"}
    assert TimmBackbone("resnet18", resnet18).tensors([]) == {}


def test_transformer_takes_sides_that_its_patch_does_not_divide() -> None:
    weights = random_weights("vit_small_patch14_dinov2")
    backbone = build_backbone("vit_small_patch14_dinov2", weights)
    found = run(backbone, [-10])[0]
    assert found.shape == (2, 384, 5, 7)  # 64 x 96 pixels become 70 x 98
    tensors = backbone.tensors([-10])
    assert not any(name.startswith("blocks.3.") for name in tensors)
    assert torch.equal(run(build_backbone(backbone.name, replace(weights, tensors=tensors)), [-10])[0], found)


def test_transformer_is_given_its_own_colour_statistics() -> None:
    weights = random_weights("vit_tiny_patch16_224")
    found = run(TimmBackbone("vit_tiny_patch16_224", weights), [-12])[0]
    import timm

    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=7, dynamic_img_size=True).eval()
    network.load_state_dict(weights.tensors)
    with torch.no_grad():
        expected = network.forward_intermediates(IMAGES * 2 - 1, indices=[0], intermediates_only=True)[0]
    torch.testing.assert_close(found, expected)


def test_densenet_levels_equal_the_plain_network() -> None:
    weights = random_weights("densenet121")
    import timm

    network = timm.create_model("densenet121", pretrained=False, num_classes=7).eval()
    network.load_state_dict(weights.tensors)
    caught: list[Tensor] = []
    network.features.denseblock2.register_forward_hook(lambda module, given, out: caught.append(out.clone()))
    with torch.no_grad():
        network(normalise(IMAGES))
    backbone = TimmBackbone("densenet121", weights)
    assert backbone.describe([-3]) == ([512], [8])
    torch.testing.assert_close(run(backbone, [-3])[0], caught[0])


def test_size_that_the_network_cannot_take_is_an_input_error() -> None:
    backbone = TimmBackbone("maxvit_rmlp_pico_rw_256", random_weights("maxvit_rmlp_pico_rw_256"))
    with pytest.raises(InputError, match="cannot take images of 64x96"):
        run(backbone)


def test_backbone_is_frozen(resnet18: Weights) -> None:
    backbone = TimmBackbone("resnet18", resnet18)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.train().modules())


def test_model_without_feature_levels_or_name_is_refused(resnet18: Weights) -> None:
    with pytest.raises(InputError, match="resnet19"):
        TimmBackbone("resnet19", resnet18)
