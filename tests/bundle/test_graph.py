from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from automl_ad.bundle.graph import DetectorGraph, ScoreHead
from automl_ad.evaluation.aggregation import AGGREGATIONS, ScoreAggregation, score_maps
from automl_ad.evaluation.metrics import resize_maps

SIDES = st.integers(1, 40)


def random_maps(count: int, size: tuple[int, int], seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, *size)) * 10 ** rng.uniform(-2, 2) + rng.normal()).astype(np.float32)


class Reduced(nn.Module):
    """Maps that are the first channel of every third pixel, so that the place of a pixel is known."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, ::3, ::3]


@pytest.mark.parametrize("rule", AGGREGATIONS, ids=lambda rule: rule.name)
@settings(max_examples=12)
@given(height=SIDES, width=SIDES, stride=st.sampled_from([(1, 1), (4, 4), (8, 3), (32, 32)]), seed=st.integers(0, 99))
def test_every_rule_scores_as_outside_of_the_graph(
    rule: ScoreAggregation, height: int, width: int, stride: tuple[int, int], seed: int
) -> None:
    maps, image = random_maps(3, (height, width), seed), (height * stride[0], width * stride[1])
    found = ScoreHead(rule, (height, width), image)(torch.from_numpy(maps)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, score_maps(maps, rule, image), rtol=1e-5, atol=2e-6 * np.abs(maps).max())


@pytest.mark.parametrize("image", [(50, 70), (33, 17), (240, 31)])
def test_lengths_that_are_no_whole_map_pixels(image: tuple[int, int]) -> None:
    maps = random_maps(2, (13, 11), 0)
    for rule in (
        ScoreAggregation("pool", pool=9, sigma=2.5),
        ScoreAggregation("max", sigma=0.3),
        ScoreAggregation("pool", pool=500),
    ):
        found = ScoreHead(rule, (13, 11), image)(torch.from_numpy(maps))
        np.testing.assert_allclose(found, score_maps(maps, rule, image), rtol=1e-5)


def test_a_score_head_has_no_state() -> None:
    assert not ScoreHead(ScoreAggregation("max", sigma=4), (8, 8), (64, 64)).state_dict()


@settings(max_examples=15)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 99))
def test_maps_are_enlarged_as_outside_of_the_graph(height: int, width: int, seed: int) -> None:
    pictures = np.random.default_rng(seed).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    graph = DetectorGraph(Reduced(), ScoreAggregation("max"), (height, width))
    maps, scores = graph(torch.from_numpy(pictures))
    small = pictures[:, ::3, ::3, 0].astype(np.float32) / 255
    np.testing.assert_allclose(maps.numpy(), resize_maps(small, (height, width)), atol=1e-5)
    np.testing.assert_array_equal(scores, small.max((1, 2)))


def test_maps_larger_than_the_images_are_reduced_alike() -> None:
    class Enlarged(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 1].repeat_interleave(2, 1).repeat_interleave(2, 2).cumsum(1)

    pictures = np.random.default_rng(0).integers(0, 256, (2, 9, 14, 3), dtype=np.uint8)
    large = Enlarged()(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    maps, _ = DetectorGraph(Enlarged(), ScoreAggregation("max"), (9, 14))(torch.from_numpy(pictures))
    np.testing.assert_allclose(maps, resize_maps(large.numpy(), (9, 14)), rtol=1e-5)
