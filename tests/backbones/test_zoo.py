from __future__ import annotations

import time
from pathlib import Path

import pytest
from safetensors.torch import save_file

from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.network import TimmBackbone
from automl_ad.backbones.vgg import VggBackbone
from automl_ad.backbones.weights import Weights
from automl_ad.backbones.zoo import build_backbone, load_backbone, network_name
from automl_ad.errors import InputError, WeightsError


def test_names() -> None:
    assert network_name("resnet18+filters") == "resnet18"
    assert network_name("embedded") == "embedded"
    assert network_name("vgg19+reflect") == network_name("vgg19+reflect+filters") == "vgg19"


def test_embedded_needs_nothing(no_sources: Path) -> None:
    assert isinstance(load_backbone("embedded", None), EmbeddedBackbone)
    assert isinstance(build_backbone("embedded", None), EmbeddedBackbone)


def test_networks_are_loaded_from_the_folder_with_and_without_filters(
    tmp_path: Path, no_sources: Path, resnet18: Weights
) -> None:
    save_file(resnet18.tensors, str(tmp_path / "resnet18.safetensors"))
    plain = load_backbone("resnet18", tmp_path)
    joined = load_backbone("resnet18+filters", tmp_path)
    assert isinstance(plain, TimmBackbone)
    assert isinstance(joined, JoinedBackbone)
    assert joined.network.weights_tag == plain.weights_tag


def test_missing_weights_name_three_ways_within_seconds(no_sources: Path) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsError, match="resnet34") as caught:
        load_backbone("resnet34", None)
    assert time.monotonic() - started < 5
    for way in ("resnet34.safetensors", "--weights-dir", "AUTOML_AD_WEIGHTS", "hub cache", "internet"):
        assert way in str(caught.value)


def test_filters_need_the_weights_of_their_network(no_sources: Path) -> None:
    with pytest.raises(WeightsError, match=r"put resnet34\.safetensors"):
        load_backbone("resnet34+filters", None)


def test_vgg_networks_share_one_file(tmp_path: Path, no_sources: Path, vgg11: Weights) -> None:
    save_file(vgg11.tensors, str(tmp_path / "vgg11.safetensors"))
    plain = load_backbone("vgg11", tmp_path)
    joined = load_backbone("vgg11+reflect+filters", tmp_path)
    assert isinstance(plain, VggBackbone)
    assert isinstance(joined, JoinedBackbone)
    assert isinstance(joined.network, VggBackbone)
    assert (plain.name, joined.network.name, joined.name) == ("vgg11", "vgg11+reflect", "vgg11+reflect+filters")
    assert joined.network.weights_tag == f"{plain.weights_tag}-reflect"


@pytest.mark.parametrize("name", ["resnet18+reflect", "resnet18+reflect+filters", "embedded+reflect"])
def test_only_vgg_networks_reflect(no_sources: Path, name: str) -> None:
    for make in (load_backbone, lambda name: build_backbone(name, None)):
        with pytest.raises(InputError, match=r"is for VGG networks.* use '(resnet18|embedded)'"):
            make(name)


@pytest.mark.parametrize(
    "name", ["resnet19", "resnet19+filters", "+filters", "resnet18.nonsense", "vgg12+reflect", "vgg11+filters+reflect"]
)
def test_unknown_model_is_an_input_error(no_sources: Path, name: str) -> None:
    with pytest.raises(InputError, match="not known to timm"):
        load_backbone(name)


def test_filters_are_not_joined_to_themselves(no_sources: Path) -> None:
    with pytest.raises(InputError, match="use 'embedded'"):
        build_backbone("embedded+filters", None)
    with pytest.raises(InputError, match="use 'embedded'"):
        load_backbone("embedded+filters")
