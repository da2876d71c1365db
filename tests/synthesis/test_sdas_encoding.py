"""What the model sees, by round trips and by what it is made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_sdas import draw_parts
from torch import Tensor

from automl_ad.synthesis.colour import is_grey
from automl_ad.synthesis.sdas.encoding import LARGEST_GAIN, TYPICAL, Encoding
from automl_ad.synthesis.sdas.synthesiser import as_planes

Images = npt.NDArray[np.uint8]

SIDES = st.integers(2, 6)
shapes = st.tuples(st.integers(1, 3), SIDES, SIDES)
picture_sets = shapes.flatmap(lambda shape: arrays(np.uint8, (*shape, 3)))
grey_sets = shapes.flatmap(lambda shape: arrays(np.uint8, (*shape, 1))).map(lambda levels: levels.repeat(3, axis=3))
colourful = picture_sets.filter(lambda images: not all(is_grey(image) for image in images))


def there_and_back(encoding: Encoding, images: Images) -> npt.NDArray[np.int64]:
    decoded = encoding.decode(encoding.encode(as_planes(images)))
    assert decoded.dtype == torch.uint8
    return decoded.numpy().transpose(0, 2, 3, 1).astype(int)


def encoded(images: Images) -> Tensor:
    return Encoding.of(images).encode(as_planes(images))


def spread(deviations: tuple[float, float, float], count: int = 12) -> Images:
    """Images that differ from a ramp by these deviations along three axes that are none of red, green and blue."""
    axes = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    levels = np.random.default_rng(0).normal(size=(count, 40, 40, 3)) * deviations @ axes
    ramp = np.linspace(-20, 20, 40)[:, None, None] + np.array([130, 125, 120])
    return np.clip(np.rint(levels + ramp), 0, 255).astype(np.uint8)


def along_axes(images: Images) -> npt.NDArray[np.float64]:
    """The encoded pixels, one row an axis."""
    values = encoded(images).numpy().transpose(1, 0, 2, 3)
    return values.reshape(len(values), -1).astype(float)


@given(images=colourful)
@settings(deadline=None)
def test_images_come_back_within_a_level(images: Images) -> None:
    encoding = Encoding.of(images)
    assert encoding.channels == 3
    assert np.abs(there_and_back(encoding, images) - images).max() <= 1


@given(images=colourful, seed=st.integers(0, 1000))
@settings(deadline=None)
def test_other_images_come_back_as_well(images: Images, seed: int) -> None:
    others = np.random.default_rng(seed).integers(0, 256, images.shape, np.uint8)
    assert np.abs(there_and_back(Encoding.of(images), others) - others).max() <= 1


@given(images=grey_sets)
@settings(deadline=None)
def test_grey_images_have_one_channel_and_come_back_grey(images: Images) -> None:
    encoding = Encoding.of(images)
    assert encoding.channels == 1
    assert encoding.encode(as_planes(images)).shape == (len(images), 1, *images.shape[1:3])
    np.testing.assert_array_equal(there_and_back(encoding, images), images)


def test_of_nearly_grey_images_only_the_mean_keeps_its_hue() -> None:
    images = np.full((2, 4, 4, 3), (100, 102, 100), np.uint8)
    images[1] += np.array([10, 10, 12], np.uint8)
    # The means are 105, 107 and 106, and the second image is 16 / 3 brighter on average.
    back = there_and_back(Encoding.of(images), images)
    np.testing.assert_array_equal(back[1], np.broadcast_to([110, 112, 111], back[1].shape))


def test_one_coloured_image_makes_a_coloured_set() -> None:
    images = np.full((3, 8, 8, 3), 100, np.uint8)
    images[1, :, 4:] = (200, 100, 100)
    assert Encoding.of(images).channels == 3


@given(images=picture_sets)
@settings(deadline=None)
def test_the_mean_of_the_good_images_is_nought(images: Images) -> None:
    encoding = Encoding.of(images)
    mean = encoding.mean.numpy().transpose(1, 2, 0)
    np.testing.assert_allclose((mean + 1) * 127.5, images.mean(0), atol=1e-3)
    np.testing.assert_allclose(encoding.encode(as_planes(images)).mean(0), 0, atol=1e-4)
    np.testing.assert_array_equal(
        encoding.decode(torch.zeros(1, encoding.channels, *mean.shape[:2]))[0].permute(1, 2, 0),
        ((encoding.mean.permute(1, 2, 0) + 1) * 127.5).round().byte(),
    )


@given(images=picture_sets)
@settings(deadline=None)
def test_nothing_that_was_seen_lies_out_of_reach(images: Images) -> None:
    encoding = Encoding.of(images)
    farthest = float(encoding.encode(as_planes(images)).abs().max())
    assert farthest == pytest.approx(encoding.max_abs, rel=1e-4, abs=1e-5)


def test_of_many_images_a_sample_of_the_pixels_tells_the_range() -> None:
    images = draw_parts(120, side=64)
    assert images.size // 3 > 400_000
    farthest = float(encoded(images).abs().max())
    assert 0.8 * farthest < Encoding.of(images).max_abs <= farthest * (1 + 1e-5)


@pytest.mark.parametrize("deviations", [(40, 20, 10), (30, 30, 3), (25, 2, 1)])
def test_the_axes_do_not_vary_together(deviations: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(np.corrcoef(along_axes(spread(deviations))), np.eye(3), atol=1e-3)


@pytest.mark.parametrize(("deviations", "full"), [((40, 20, 10), 3), ((40, 15, 2), 2), ((30, 3, 1), 1)])
def test_axes_are_stretched_to_one_spread_but_faint_ones_eight_times_at_most(
    deviations: tuple[float, float, float], full: int
) -> None:
    """Eight times 7.97 levels of 127.5 are 0.5."""
    seen = np.sort(along_axes(spread(deviations)).std(1))[::-1]
    np.testing.assert_allclose(seen[:full], TYPICAL, rtol=0.01)
    # Rounding to whole levels has a variance of 1 / 12, and the mean of twelve images is not exact.
    faint = LARGEST_GAIN / 127.5 * np.sqrt((np.square(deviations[full:]) + 1 / 12) * 11 / 12)
    np.testing.assert_allclose(seen[full:], np.sort(faint)[::-1], rtol=0.03)


@pytest.mark.parametrize(("deviation", "expected"), [(20, 0.5), (2, 2 * 8 / 127.5)])
def test_grey_is_stretched_alike(deviation: float, expected: float) -> None:
    levels = np.random.default_rng(0).normal(120, deviation, (30, 40, 40, 1))
    images = np.clip(np.rint(levels), 0, 255).astype(np.uint8).repeat(3, axis=3)
    assert along_axes(images).std() == pytest.approx(expected, rel=0.05)


@given(images=picture_sets)
@settings(deadline=None)
def test_nothing_is_stretched_more_and_all_can_be_undone(images: Images) -> None:
    encoding = Encoding.of(images)
    stretch = encoding.axes.norm(dim=1) if encoding.channels == 3 else encoding.axes.sum(1)
    assert float(stretch.max()) <= LARGEST_GAIN * (1 + 1e-4)
    torch.testing.assert_close(encoding.axes @ encoding.inverse, torch.eye(encoding.channels), atol=1e-5, rtol=0)


def test_images_that_do_not_differ_come_back() -> None:
    images = np.full((2, 4, 4, 3), (200, 30, 90), np.uint8)
    encoding = Encoding.of(images)
    assert encoding.max_abs == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(there_and_back(encoding, images), images)


def test_plain_is_red_green_and_blue_from_minus_one_to_one() -> None:
    images = np.array([[[[0, 255, 51]]]], np.uint8)
    plain = Encoding.plain(1, 1)
    np.testing.assert_allclose(plain.encode(as_planes(images)).numpy().ravel(), [-1, 1, -0.6], atol=1e-6)
    assert (plain.channels, plain.max_abs) == (3, 1)


def test_plain_keeps_all_levels() -> None:
    images = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    images[..., 1] += 85
    np.testing.assert_array_equal(there_and_back(Encoding.plain(16, 16), images), images)


@given(images=grey_sets, level=st.sampled_from([-50.0, 50.0]))
@settings(deadline=None)
def test_what_lies_beyond_black_and_white_is_clipped(images: Images, level: float) -> None:
    """As bytes it would come round on the other side."""
    decoded = Encoding.of(images).decode(torch.full((1, 1, *images.shape[1:3]), level))
    assert set(np.unique(decoded)) == {0 if level < 0 else 255}
