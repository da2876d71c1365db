"""The backbones of a study: a network that serves under two names is one in memory and in size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from automl_ad.backbones import weights as weights_module
from automl_ad.backbones.cache import FeatureCache
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.names import EMBEDDED, INSTALLED_NETWORK
from automl_ad.backbones.packaged import PACKAGES
from automl_ad.errors import InputError
from automl_ad.methods.base import FeatureSpec
from automl_ad.study import backbones as backbones_module
from automl_ad.study.backbones import BackboneSet, _joined, load_backbones
from automl_ad.study.settings import StudySettings
from automl_ad.study.trial import size_mb


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), str(folder / "resnet18.safetensors"))
    return folder


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbones that were loaded, in turn."""
    asked: list[str] = []
    load = backbones_module.load_backbone

    def watched(name: str, *arguments: Any, **options: Any) -> Any:
        asked.append(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(backbones_module, "load_backbone", watched)
    return asked


def backbone_set(weights: Path, *names: str) -> BackboneSet:
    settings = StudySettings(images=weights, backbones=names, weights_dir=weights, explicit_backbones=True)
    return load_backbones(settings, torch.device("cpu"), FeatureCache(weights / "cache"))


@pytest.mark.parametrize("names", [("resnet18", "resnet18+filters"), ("resnet18+filters", "embedded", "resnet18")])
def test_a_network_is_loaded_once(weights: Path, loads: list[str], names: tuple[str, ...]) -> None:
    extractors = backbone_set(weights, *names).extractors
    assert tuple(extractors) == names
    assert loads.count("resnet18") == 1
    assert "resnet18+filters" not in loads
    joined = extractors["resnet18+filters"].backbone
    assert isinstance(joined, JoinedBackbone)
    assert joined.network is extractors["resnet18"].backbone


@pytest.mark.parametrize(
    ("names", "baseline"),
    [
        (("embedded", "resnet18"), "resnet18"),
        (("embedded",), "embedded"),
        (("resnet18+filters", "embedded"), "resnet18+filters"),
    ],
)
def test_the_baseline_runs_on_a_network_where_there_is_one(
    weights: Path, names: tuple[str, ...], baseline: str
) -> None:
    found = backbone_set(weights, *names)
    assert found.baseline is found.extractors[baseline]


def test_a_network_with_filters_alone_is_loaded_by_itself(weights: Path, loads: list[str]) -> None:
    assert list(backbone_set(weights, "resnet18+filters").extractors) == loads == ["resnet18+filters"]


def test_without_the_suffix_a_network_is_never_joined(weights: Path) -> None:
    network = backbone_set(weights, "resnet18").extractors["resnet18"].backbone
    assert isinstance(_joined("resnet18+filters", {"resnet18": network}), JoinedBackbone)
    assert _joined("resnet18", {"resnet18": network}) is None


def test_filters_are_not_joined_to_themselves(weights: Path) -> None:
    with pytest.raises(InputError, match=r"embedded"):
        backbone_set(weights, "embedded", "embedded+filters")


def test_a_network_that_is_read_twice_counts_once(weights: Path) -> None:
    both = backbone_set(weights, "resnet18", "resnet18+filters").extractors
    deep, shallow = (
        FeatureSpec(both[name].backbone, levels) for name, levels in zip(both, ((-2,), (-3,)), strict=True)
    )
    state = {"mean": torch.zeros(250_000)}
    single, together = (
        SimpleNamespace(state=state, feature_specs=feature_specs) for feature_specs in ((deep,), (deep, shallow))
    )
    megabytes: Any = size_mb
    assert megabytes(together) == megabytes(single) > megabytes(SimpleNamespace(state=state, feature_specs=())) == 1.0


def preset_backbones(folder: Path, *names: str) -> BackboneSet:
    """Those of a preset, on a machine without a hub."""
    settings = StudySettings(images=folder, backbones=names, weights_dir=folder)
    return load_backbones(settings, torch.device("cpu"), FeatureCache(folder / "cache"))


@pytest.fixture
def without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "_hub_file", lambda *_, **__: None)


@pytest.mark.usefixtures("without_hub")
@pytest.mark.parametrize("names", [("resnet50",), ("resnet50", "embedded")])
def test_the_installed_network_stands_in_where_a_preset_has_no_weights(tmp_path: Path, names: tuple[str, ...]) -> None:
    found = preset_backbones(tmp_path, *names)
    assert list(found.extractors) == [INSTALLED_NETWORK, EMBEDDED]
    assert found.baseline is found.extractors[INSTALLED_NETWORK]
    (warning,) = found.warnings
    assert "No weights were found for resnet50: going on with tf_efficientnet_lite0 and embedded" in warning


@pytest.mark.usefixtures("without_hub")
@pytest.mark.parametrize("names", [("resnet50",), (INSTALLED_NETWORK, "resnet50", "embedded"), (INSTALLED_NETWORK,)])
def test_a_damaged_package_leaves_the_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    other = replace(PACKAGES[INSTALLED_NETWORK], sha256="0" * 64)
    monkeypatch.setitem(PACKAGES, INSTALLED_NETWORK, other)
    found = preset_backbones(tmp_path, *names)
    assert list(found.extractors) == [EMBEDDED]
    assert "Left out: " in found.warnings[0]
    assert "is not the file that this version knows" in found.warnings[0]
    assert "going on with embedded" in found.warnings[1]


@pytest.mark.usefixtures("without_hub")
def test_what_a_preset_has_no_weights_for_is_left_out(weights: Path) -> None:
    assert list(preset_backbones(weights, "resnet50", "resnet18", "embedded").extractors) == ["resnet18", "embedded"]
