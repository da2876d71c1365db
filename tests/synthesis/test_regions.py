"""Rectangles around defects, and drawings that look at nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis import blending
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.regions import around, channel_range, grown, highest_channel, region_of


def test_the_rectangle_holds_all_pixels_above_zero_and_stays_on_the_image() -> None:
    weight = np.zeros((20, 30), np.float32)
    weight[4, 7], weight[9, 12] = 0.1, 1.0
    assert region_of(weight) == (slice(4, 10), slice(7, 13))
    assert region_of(weight, 6) == (slice(0, 16), slice(1, 19))
    assert region_of(weight > 0.5) == (slice(9, 10), slice(12, 13))
    assert region_of(np.zeros((20, 30), np.bool_)) is None


def test_a_reach_is_counted_from_the_centre() -> None:
    assert around((5, 5), 2.2, (20, 7)) == (slice(2, 9), slice(2, 7))
    assert grown((slice(0, 3), slice(4, 5)), 2, (4, 6, 3)) == (slice(0, 4), slice(2, 6))


def test_channels_are_compared_pixel_by_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(highest_channel(image), image.max(axis=2))
    np.testing.assert_array_equal(channel_range(image), image.max(axis=2) - image.min(axis=2))


@pytest.mark.parametrize("corner", [(0, 0), (30, 50), (44, 61)])
def test_what_lies_outside_of_the_weight_plays_no_part(corner: tuple[int, int]) -> None:
    """Also at the border of the image."""
    rng = np.random.default_rng(1)
    image, source = (rng.integers(0, 256, (64, 80, 3), dtype=np.uint8) for _ in range(2))
    weight = np.zeros((64, 80), np.float32)
    weight[corner[0] : corner[0] + 20, corner[1] : corner[1] + 19] = rng.random((20, 19)).astype(np.float32)
    other = np.where((weight > 0)[..., None], source, 255 - source)
    for compute in (
        lambda drawn: blending.contrast(image, drawn, weight),
        lambda drawn: blending.blend(image, drawn, weight, 0.7),
        lambda drawn: blending.changed_mask(image, drawn, weight),
    ):
        np.testing.assert_array_equal(compute(source), compute(other))
    alpha = 0.7 * weight[..., None].astype(np.float64)
    expected = np.rint(image + alpha * (source.astype(float) - image))
    np.testing.assert_allclose(blending.blend(image, source, weight, 0.7), expected, atol=1)


def test_facts_of_normals_are_found_once_and_those_of_other_images_each_time() -> None:
    seen = []

    class Watched(Foreground):
        def mask_of(self, image: np.ndarray) -> np.ndarray:
            seen.append(image[0, 0, 0])
            return super().mask_of(image)

    normals = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    context = Context(normals, Watched())
    for _ in range(2):
        for image in normals:
            assert context.product_of(image).all()
            np.testing.assert_array_equal(context.variation_of(image), blending.local_variation(image))
    assert seen == list(normals[:, 0, 0, 0])
    for _ in range(2):
        context.product_of(normals[0].copy())
        context.product_of(normals[1, ::-1])
    assert len(seen) == 7
