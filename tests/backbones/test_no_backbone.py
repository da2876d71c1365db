from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from automl_ad.backbones.base import NO_BACKBONE, NoBackbone
from automl_ad.backbones.cache import FeatureCache
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.zoo import build_backbone
from automl_ad.data.image_set import ImageSet
from automl_ad.errors import InputError


def test_it_gives_no_maps_and_needs_no_tensors() -> None:
    backbone = build_backbone(NO_BACKBONE, None)
    assert isinstance(backbone, NoBackbone)
    assert backbone(torch.zeros(2, 3, 64, 64)) == []
    assert backbone.tensors(()) == {}
    assert backbone.describe(()) == ([], [])


def test_a_level_cannot_be_had() -> None:
    with pytest.raises(InputError, match="Backbone none has no level -1"):
        NoBackbone()(torch.zeros(1, 3, 64, 64), (-1,))


def test_an_extractor_walks_images_without_writing_to_its_cache(tmp_path: Path) -> None:
    images = ImageSet.of(np.zeros((5, 3, 32, 32), np.uint8))
    extractor = FeatureExtractor(NoBackbone(), cache=FeatureCache(tmp_path))
    assert list(extractor.batches(images, (), size=2)) == [[], [], []]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
