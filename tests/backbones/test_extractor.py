from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from automl_ad.backbones.base import Backbone
from automl_ad.backbones.cache import FeatureCache
from automl_ad.backbones.embedded import EmbeddedBackbone
from automl_ad.backbones.extractor import FeatureExtractor
from automl_ad.backbones.joined import JoinedBackbone
from automl_ad.backbones.network import TimmBackbone
from automl_ad.backbones.weights import Weights
from automl_ad.data.image_set import ImageSet


def images(count: int = 11, seed: int = 0) -> ImageSet:
    return ImageSet.of(np.random.default_rng(seed).integers(0, 256, (count, 3, 64, 96), dtype=np.uint8))


def collect(batches: Iterator[list[Tensor]]) -> list[Tensor]:
    return [torch.cat(level) for level in zip(*batches, strict=True)]


class Counting(Backbone):
    """A cheap backbone that notes what it is asked to compute."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.name, self.weights_tag = "counting", "counting-1"
        self.levels, self.channels, self.strides = (-2, -1), (3, 3), (1, 2)
        self.asked: list[tuple[int, tuple[int, ...]]] = []
        self.fail_at = fail_at

    def forward(self, images: Tensor, levels: Sequence[int] | None = None) -> list[Tensor]:
        wanted = tuple(levels or self.levels)
        if len(self.asked) == self.fail_at:
            raise RuntimeError("crash")
        self.asked.append((len(images), wanted))
        return [images * 1e6 if level == -2 else images[..., ::2, ::2] for level in wanted]


def test_without_a_cache_features_are_those_of_the_backbone() -> None:
    some = images()
    found = collect(FeatureExtractor(EmbeddedBackbone()).batches(some, [-1, -3], 4))
    expected = EmbeddedBackbone()(torch.from_numpy(some.pixels).float() / 255, [-1, -3])
    for level, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(level, reference, atol=1e-4, rtol=0)


def test_features_can_be_trained_upon() -> None:
    features = FeatureExtractor(EmbeddedBackbone()).maps(torch.rand(1, 3, 32, 32), [-4])[0]
    weight = torch.ones(14, requires_grad=True)
    (features * weight[:, None, None]).sum().backward()
    assert weight.grad is not None


def test_cached_features_equal_computed_ones_to_half_precision(tmp_path: Path, resnet18: Weights) -> None:
    some, backbone = images(), JoinedBackbone(TimmBackbone("resnet18", resnet18))
    computed = collect(FeatureExtractor(backbone).batches(some, [-5, -3]))
    cached = FeatureExtractor(backbone, cache=FeatureCache(tmp_path))
    for _ in ("fills the cache", "reads it"):
        for found, expected in zip(collect(cached.batches(some, [-5, -3], 3)), computed, strict=True):
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=2**-10, atol=2e-3)


def test_a_level_is_computed_once_and_shared(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    cache = FeatureCache(tmp_path)
    list(FeatureExtractor(first, cache=cache).batches(images(), [-1]))
    list(FeatureExtractor(second, cache=FeatureCache(tmp_path)).batches(images(), [-1, -2, -1]))
    list(FeatureExtractor(first, cache=cache).batches(images(), [-2, -1]))
    assert first.asked == [(8, (-1,)), (3, (-1,))]
    assert second.asked == [(8, (-2,)), (3, (-2,))]
    list(FeatureExtractor(first, cache=cache).batches(images(seed=1), [-1]))
    assert len(first.asked) == 4


def test_subsets_read_what_is_cached_for_the_whole(tmp_path: Path) -> None:
    whole, backbone = images(), Counting()
    extractor = FeatureExtractor(backbone, cache=FeatureCache(tmp_path))
    subset = whole.take([9, 2, 5, 0]).take([1, 3, 2])
    found = collect(extractor.batches(subset, [-1], 2))[0]
    expected = torch.from_numpy(whole.pixels[[2, 0, 5], :, ::2, ::2]).float() / 255
    torch.testing.assert_close(found, expected, rtol=2**-10, atol=0)
    asked = list(backbone.asked)
    list(extractor.batches(whole, [-1]))
    assert backbone.asked == asked


def test_joined_backbone_shares_the_cache_of_its_parts(tmp_path: Path) -> None:
    network = Counting()
    cache = FeatureCache(tmp_path)
    list(FeatureExtractor(network, cache=cache).batches(images(), [-1]))
    list(FeatureExtractor(EmbeddedBackbone(), cache=cache).batches(images(), [-4]))
    files, asked = set(tmp_path.iterdir()), list(network.asked)
    found = collect(FeatureExtractor(JoinedBackbone(network), cache=cache).batches(images(), [-1]))[0]
    assert set(tmp_path.iterdir()) == files
    assert network.asked == asked
    assert found.shape == (11, 3 + 14, 32, 48)


def test_values_beyond_half_precision_stay_finite(tmp_path: Path) -> None:
    found = collect(FeatureExtractor(Counting(), cache=FeatureCache(tmp_path)).batches(images(), [-2]))[0]
    assert found.max() == np.finfo(np.float16).max


def test_a_crash_between_batches_leaves_no_file(tmp_path: Path) -> None:
    extractor = FeatureExtractor(Counting(fail_at=1), cache=FeatureCache(tmp_path))
    with pytest.raises(RuntimeError, match="crash"):
        list(extractor.batches(images(), [-2, -1]))
    assert list(tmp_path.iterdir()) == []


def test_levels_larger_than_the_whole_cache_are_computed_for_the_images_asked_for_alone(tmp_path: Path) -> None:
    whole, need = images(), 2 * 11 * (3 * 64 * 96 + 3 * 32 * 48)
    for limit, written, asked in ((need - 1, False, [(3, (-2, -1))]), (need, True, [(8, (-2, -1)), (3, (-2, -1))])):
        backbone, folder = Counting(), tmp_path / str(limit)
        extractor = FeatureExtractor(backbone, cache=FeatureCache(folder, limit_bytes=limit))
        found = collect(extractor.batches(whole.take([9, 2, 5]), [-2, -1]))[1]
        expected = torch.from_numpy(whole.pixels[[9, 2, 5], :, ::2, ::2]).float() / 255
        torch.testing.assert_close(found, expected, rtol=2**-10, atol=0)
        assert (bool(list(folder.iterdir())), backbone.asked) == (written, asked)


def test_a_cache_too_small_for_anything_still_serves(tmp_path: Path) -> None:
    extractor = FeatureExtractor(Counting(), cache=FeatureCache(tmp_path, limit_bytes=1))
    assert collect(extractor.batches(images(), [-2, -1]))[1].shape == (11, 3, 32, 48)
    assert list(tmp_path.iterdir()) == []
