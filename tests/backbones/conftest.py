from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from random_networks import random_weights

from automl_ad.backbones import weights as weights_module
from automl_ad.backbones.weights import Weights


@pytest.fixture(scope="session")
def resnet18() -> Weights:
    return random_weights("resnet18")


@pytest.fixture(scope="session")
def vgg11() -> Weights:
    """Without the classifier, which has ten times the parameters of the rest."""
    weights = random_weights("vgg11")
    return replace(weights, tensors={k: v for k, v in weights.tensors.items() if k.startswith("features.")})


@pytest.fixture
def no_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache, no internet, no folder from the environment; returns the hub cache."""
    hub = tmp_path / "hub"
    hub.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.delenv(weights_module.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setattr(weights_module, "hub_reachable", lambda: False)
    return hub
