"""The reference panel: frozen, training-free detectors that set severities and never compete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import BATCH, FeatureExtractor
from automl_ad.backbones.names import EMBEDDED
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.evaluation.severity import Panel, Scorer
from automl_ad.study.configuration import Configuration
from automl_ad.training import Budget, ignore_progress

_RULE = ScoreAggregation("top", fraction=0.01)
PANEL_LEVELS = [-3, -2, -1]
"""Levels of the embedded backbone that the members use."""
_MEMBERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("padim", {"levels": PANEL_LEVELS}),
    ("dfr", {"levels": PANEL_LEVELS, "model": "image_pca", "stride": 16, "variance": 0.95}),
    ("patchcore", {"levels": PANEL_LEVELS[:2], "standardise": True}),
)


class _RecentFeatures(FeatureExtractor):
    """Keeps the features of the images that it saw last: all members of the panel look at the same ones in turn."""

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        super().__init__(backbone, device)
        self._seen: tuple[str, int] | None = None
        self._kept: list[dict[int, Tensor]] = []

    def batches(self, images: ImageSet, levels: Sequence[int], size: int = BATCH) -> Iterator[list[Tensor]]:
        """See ``FeatureExtractor.batches``."""
        if self._seen != (images.key, size):
            self._seen, self._kept = (images.key, size), []
        kept = self._kept
        for place, batch in enumerate(images.batches(size)):
            if place == len(kept):
                kept.append(dict(zip(PANEL_LEVELS, self.maps(torch.from_numpy(batch), PANEL_LEVELS), strict=True)))
            yield [kept[place][level] for level in levels]


def reference_panel(normals: ImageSet, unseen: ImageSet, device: torch.device, side: int) -> Panel:
    """Fits the panel on the embedded backbone, which is the same on every machine and needs no weights.

    Args:
        normals: Good images to fit on.
        unseen: Other good images, against which anomalies are held.
        device: Where to compute.
        side: Working size.
    """
    extractor = _RecentFeatures(EmbeddedBackbone(), device)
    scorers = [
        _member(Configuration.of(method, side, {"backbone": EMBEDDED, **settings}), extractor, normals)
        for method, settings in _MEMBERS
    ]
    return Panel.of(scorers, unseen)


def _member(configuration: Configuration, extractor: FeatureExtractor, normals: ImageSet) -> Scorer:
    detector = configuration.build(lambda _: extractor, seed=0)
    detector.fit(normals, None, Budget(), ignore_progress)
    return lambda images: score_maps(detector.anomaly_maps(images), _RULE, images.size)
