"""Lines and dots."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis.strokes import dots, lines, walk


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
