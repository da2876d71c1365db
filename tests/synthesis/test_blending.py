"""Blending, contrast and change masks against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis.blending import blend, changed_mask, contrast, local_variation, target_contrast


def grey(value: int, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def spot(rows: int, side: int = 32) -> np.ndarray:
    weight = np.zeros((side, side), np.float32)
    weight[:rows] = 1
    return weight


@pytest.mark.parametrize(
    ("image", "source", "weight", "opacity", "expected"),
    [
        (100, 200, 1.0, 0.25, 125),
        (200, 100, 1.0, 0.25, 175),
        (100, 200, 0.5, 0.5, 125),
        (10, 13, 1.0, 0.5, 12),  # 11.5 rounds to the even neighbour
        (0, 255, 1.0, 1.0, 255),
        (7, 250, 0.0, 1.0, 7),
        (7, 250, 1.0, 0.0, 7),
    ],
)
def test_blend_is_linear_and_rounds(image: int, source: int, weight: float, opacity: float, expected: int) -> None:
    mixed = blend(grey(image), grey(source), np.full((32, 32), weight, np.float32), opacity)
    assert mixed.dtype == np.uint8
    assert set(mixed.ravel()) == {expected}


def test_blend_takes_boolean_masks() -> None:
    mixed = blend(grey(10), grey(90), spot(4).astype(bool))
    assert set(mixed[:4].ravel()) == {90}
    assert set(mixed[4:].ravel()) == {10}


def test_contrast_is_the_weighted_root_mean_square_over_channels() -> None:
    source = grey(100)
    source[:8, :, 0] = 130  # 30 in one of three channels: sqrt(900 / 3)
    assert contrast(grey(100), source, spot(8)) == pytest.approx(np.sqrt(300))
    assert contrast(grey(100), source, spot(16)) == pytest.approx(np.sqrt(150))
    assert contrast(grey(100), source, 0.5 * spot(8)) == pytest.approx(np.sqrt(300))
    assert contrast(grey(100), source, np.zeros((32, 32), np.float32)) == 0


def test_local_variation_of_flat_ground_is_zero_and_of_a_checkerboard_its_amplitude() -> None:
    assert local_variation(grey(200)).max() == pytest.approx(0, abs=0.1)
    board = 100 + 40 * (np.indices((128, 128)).sum(axis=0) % 2)
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert local_variation(image)[20:-20, 20:-20].mean() == pytest.approx(20, rel=0.02)


def test_target_grows_with_severity_and_variation_and_shrinks_with_size() -> None:
    calm, restless = np.zeros((100, 100), np.float32), np.full((100, 100), 20, np.float32)
    typical = np.zeros((100, 100), np.float32)
    typical[:10, :10] = 1  # one per cent of the image: no correction for size
    assert target_contrast(1.0, calm, typical) == pytest.approx(54)
    assert target_contrast(0.5, calm, typical) == pytest.approx(28.5)
    assert target_contrast(0.5, restless, typical) == pytest.approx(73.5)
    large = np.ones((100, 100), np.float32)
    assert target_contrast(1.0, calm, large) == pytest.approx(43.2)
    small = np.zeros((100, 100), np.float32)
    small[:2, :5] = 1
    assert target_contrast(1.0, calm, small) == pytest.approx(54 * 10**0.15)
    speck = np.zeros((100, 100), np.float32)
    speck[0, 0] = 1
    assert target_contrast(1.0, calm, speck) == pytest.approx(97.2)


def test_changed_mask_is_the_shape_that_changed() -> None:
    after = grey(100)
    after[:4] = 140
    np.testing.assert_array_equal(changed_mask(grey(100), after, spot(4)), spot(4).astype(bool))
    assert not changed_mask(grey(100), after, np.zeros((32, 32), np.float32)).any()
    assert not changed_mask(grey(100), grey(100), spot(32)).any()


def test_changed_mask_bridges_pixels_that_agree_by_chance_but_not_unchanged_areas() -> None:
    after = grey(100)
    after[:16] = 140
    after[8, 8] = 100
    mask = changed_mask(grey(100), after, spot(32))
    assert mask[:16].all()
    assert not mask[18:].any()
