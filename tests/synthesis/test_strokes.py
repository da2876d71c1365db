"""Antialiased strokes, and the grain along which they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis.strokes import dots, grain_angle, lines, walk


def test_a_walk_goes_step_by_step_in_the_directions_given() -> None:
    path = walk((5, 2), np.array([0, np.pi / 2, np.pi]), 12)
    np.testing.assert_allclose(path, [(5, 2), (9, 2), (9, 6), (5, 6)], atol=1e-12)


def test_lines_of_one_pixel_cover_what_lies_on_them() -> None:
    weight = lines([np.array([(2.0, 3.0), (12.0, 3.0)]), np.array([(4.0, 8.0), (4.0, 14.0)])], (16, 16), 1)
    assert weight.dtype == np.float32
    assert (weight[3, 3:12] > 0.8).all()
    assert (weight[9:14, 4] > 0.8).all()
    assert not weight[5:7, 6:].any()


def test_between_two_pixels_a_line_is_seen_on_both() -> None:
    weight = lines([np.array([(0.0, 4.5), (15.0, 4.5)])], (16, 16), 1)
    assert (weight[4:6, 4:12] > 0.2).all()
    assert (weight[4:6, 4:12] < 1).all()


def test_what_leaves_the_image_is_cut_off() -> None:
    assert not lines([np.array([(-9.0, -9.0), (-2.0, -3.0)])], (8, 8), 1).any()


@pytest.mark.parametrize("radius", [2.0, 4.0, 7.5])
def test_dots_have_the_area_of_their_circle(radius: float) -> None:
    weight = dots(np.array([(16.0, 12.0)]), np.array([radius]), (32, 32))
    # The soft edge lies outside of the circle.
    assert np.pi * radius**2 <= weight.sum() <= np.pi * (radius + 0.8) ** 2
    rows, columns = np.nonzero(weight > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((12, 16), abs=0.1)


def test_no_dot_is_too_small_to_see() -> None:
    assert dots(np.array([(4.0, 4.0), (10.0, 10.0)]), np.array([0.01, 0.0]), (16, 16))[(4, 10), (4, 10)].all()


WHOLE = np.ones((96, 128), np.bool_)


def brushed(angle: float) -> np.ndarray:
    """Stripes that run along an angle, with a little noise."""
    y, x = np.indices(WHOLE.shape)
    across = y * np.cos(angle) - x * np.sin(angle)
    grey = 120 + 40 * np.sin(0.9 * across) + np.random.default_rng(0).normal(0, 3, WHOLE.shape)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("degrees", [-80, -45, -10, 0, 20, 45, 70, 90])
def test_the_grain_of_a_brushed_surface_is_found(degrees: float) -> None:
    found = grain_angle(brushed(np.radians(degrees)), WHOLE)
    assert -np.pi / 2 < found <= np.pi / 2
    off = (np.degrees(found) - degrees + 90) % 180 - 90
    assert off == pytest.approx(0, abs=1)


def test_only_the_product_counts() -> None:
    image, left = brushed(0.0), WHOLE.copy()
    image[:, 64:] = brushed(np.pi / 2)[:, 64:]
    left[:, 60:] = False
    assert grain_angle(image, left) == pytest.approx(0, abs=0.03)
    assert abs(grain_angle(image, ~left)) == pytest.approx(np.pi / 2, abs=0.1)


def test_a_surface_without_grain_has_some_angle() -> None:
    assert np.isfinite(grain_angle(np.full((96, 128, 3), 90, np.uint8), WHOLE))
