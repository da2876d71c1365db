from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl_ad.data.image_set import ImageSet

SIDES = st.integers(1, 5)
stacks = st.tuples(st.integers(1, 4), SIDES, SIDES).flatmap(lambda shape: arrays(np.uint8, (*shape, 3)))


@given(pictures=stacks)
def test_images_come_back_in_order(pictures: np.ndarray) -> None:
    images = ImageSet.from_hwc(list(pictures))
    assert images.pixels.shape == (len(pictures), 3, *pictures.shape[1:3])
    np.testing.assert_array_equal(images.hwc, pictures)
    assert all(picture.flags.c_contiguous for picture in images.hwc)


def test_a_pixel_by_hand() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[1, 2] = (7, 8, 9)
    images = ImageSet.from_hwc([np.zeros_like(picture), picture])
    assert images.size == (2, 3)
    assert images.pixels[1, :, 1, 2].tolist() == [7, 8, 9]
    assert int(images.pixels.sum()) == 24


def test_images_of_rows_are_those_of_the_rows() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3), np.uint8)
    np.testing.assert_array_equal(ImageSet.from_hwc(pictures).take([3, 1]).hwc, pictures[[3, 1]])


def test_the_key_is_that_of_the_pixels() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 2, 3, 3), np.uint8)
    planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    assert ImageSet.from_hwc(pictures).key == ImageSet.of(planes).key
    assert ImageSet.from_hwc(pictures[::-1]).key != ImageSet.of(planes).key


def test_images_of_several_sizes_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="same shape"):
        ImageSet.from_hwc([np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)])


def test_without_shared_features_a_subset_is_a_set_of_its_own() -> None:
    images = ImageSet.of(np.random.default_rng(0).integers(0, 255, (4, 3, 8, 8), np.uint8))
    subset = images.without_shared_features().take([2, 0])
    assert (subset.base, subset.rows) == (None, None)
    assert subset.key == ImageSet.of(images.pixels[[2, 0]]).key
    np.testing.assert_array_equal(subset.pixels, images.take([2, 0]).pixels)
    assert images.without_shared_features().key == images.key
