"""Small fitted detectors of every method, and their graphs; each is made once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from automl_ad.backbones.base import Backbone, NoBackbone
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.network import TimmBackbone
from automl_ad.backbones.weights import Weights
from automl_ad.bundle.onnx_export import export_graph
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.methods.features import FeatureDetector
from automl_ad.methods.pairs import PairSource
from automl_ad.methods.registry import detector_class
from automl_ad.training import Budget, ignore_progress

SIDE = 64
SIZE = (SIDE, SIDE)
RULE = ScoreAggregation("top", fraction=0.02, sigma=4)
NETWORK = "test_resnet"

_FEW_STEPS: dict[str, Any] = {"pairs": 4, "batch": 2}
_DESTSEG = _FEW_STEPS | {"width": 8, "head_width": 8, "student_steps": 2, "head_steps": 2, "stride": 4}
_REALNET = _FEW_STEPS | {"steps": 3, "taper": 1, "kept": 0.5}
_ANOSEG = _FEW_STEPS | {"width": 8, "steps": 3, "warmup": 1}
VARIANTS: dict[str, tuple[str, str, tuple[int, ...], dict[str, Any]]] = {
    "padim": ("padim", "embedded", (-4, -3), {"channels": 20}),
    "patchcore": ("patchcore", "embedded", (-4, -3), {"ratio": 0.02, "standardise": True}),
    "patchcore-plain": ("patchcore", "embedded", (-4,), {"ratio": 0.02, "neighbours": 0}),
    "dfr-image_pca": ("dfr", "embedded", (-4,), {"model": "image_pca", "stride": 8}),
    "dfr-pca": ("dfr", "embedded", (-4,), {"model": "pca", "stride": 8}),
    "dfr-autoencoder": ("dfr", "embedded", (-4, -3), {"steps": 20, "batch": 64, "mode": "nearest"}),
    "realnet": ("realnet", "embedded", (-4,), _REALNET),
    "destseg": ("destseg", "embedded", (-4,), _DESTSEG),
    "anoseg": ("anoseg", "none", (), _ANOSEG | {"score": "gan", "size": 96}),
    "padim-network": ("padim", NETWORK, (-4, -3, -2), {"channels": 50}),
    "patchcore-network": ("patchcore", NETWORK, (-3, -2), {"ratio": 0.1}),
    "realnet-network": ("realnet", NETWORK, (-4, -3), _REALNET),
    "destseg-network": ("destseg", NETWORK, (-4, -3), _DESTSEG),
}
"""Name to method, backbone, levels and settings."""


def draw_parts(count: int, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 [count, 64, 64, 3]: discs on a noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = SIDE / 2 + rng.normal(0, 1, (count, 2))
    disc = np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None]) < 20
    return (60 + 100 * disc[..., None] + rng.normal(0, 6, (count, SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


class Squares:
    """Anomalies: inverts a square at a random place."""

    def draw(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        mask = np.zeros(image.shape[:2], np.bool_)
        top, left = rng.integers(0, SIDE - 12, 2)
        mask[top : top + 12, left : left + 12] = True
        return np.where(mask[..., None], 255 - image, image), mask


@lru_cache
def backbone(name: str) -> Backbone:
    if name == "embedded":
        return EmbeddedBackbone()
    if name == "none":
        return NoBackbone()
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=False)
    return TimmBackbone(name, Weights(dict(model.state_dict()), "drawn at random", "random"))


def unfitted(name: str) -> FeatureDetector:
    method, backbone_name, levels, settings = VARIANTS[name]
    kind = detector_class(method)
    chosen = kind.settings_type(backbone=backbone_name, levels=levels, **settings)
    return kind(chosen, FeatureExtractor(backbone(backbone_name)))


@lru_cache
def fitted(name: str) -> FeatureDetector:
    detector = unfitted(name)
    source = PairSource(Squares(), seed=0) if detector.settings.recipe is not None else None
    detector.fit(ImageSet.from_hwc(list(draw_parts(10, 0))), source, Budget(), ignore_progress)
    return detector


@lru_cache
def graph_of(name: str) -> bytes:
    return export_graph(fitted(name), RULE, SIZE)


@lru_cache
def pictures() -> npt.NDArray[np.uint8]:
    """uint8 [8, 64, 64, 3]: good parts, and as many with a square."""
    good, rng = draw_parts(8, 5), np.random.default_rng(6)
    for index in range(4, 8):
        good[index] = Squares().draw(good[index], rng)[0]
    return good
