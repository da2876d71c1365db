from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.bundle.calibration import LEVELS, Calibration
from automl_ad.evaluation.metrics import resize_maps


def maps(count: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 8, 8)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 70), side=st.sampled_from([8, 13, 32]))
def test_each_share_is_that_of_the_pixels_above_its_value(seed: int, count: int, side: int) -> None:
    drawn = maps(count, seed)
    made = Calibration.of(np.arange(count), drawn, (side, side))
    pixels = resize_maps(drawn, (side, side)).astype(np.float64).ravel()
    expected = [(pixels > value).mean() for value in made.pixel_values]
    np.testing.assert_allclose(made.pixel_shares, expected, rtol=1e-12)
    assert (np.diff(made.pixel_values) > 0).all()
    assert (np.diff(made.pixel_shares) <= 0).all()
    assert made.pixel_shares[-1] == 0
    assert len(made.pixel_values) <= LEVELS + 1


def test_by_hand() -> None:
    """Four pixels of 0, 1, 2 and 3: above the highest lies none, and half lies above the middle."""
    made = Calibration.of([5.0], np.array([[[0, 1], [2, 3]]], np.float32), (2, 2))
    np.testing.assert_allclose(np.interp([1.6, 2.5], made.pixel_values, made.pixel_shares), [0.5, 0.25], atol=0.05)
    assert made.pixel_values[-1] == 3
    assert made.pixel_shares[-1] == 0


def test_maps_that_are_all_alike_leave_one_value() -> None:
    made = Calibration.of([1.0, 2.0], np.full((2, 4, 4), 7, np.float32), (8, 8))
    assert made.pixel_values.tolist() == [7.0]
    assert made.pixel_shares.tolist() == [0.0]


def test_numbers_read_back_exactly() -> None:
    made = Calibration.of(np.random.default_rng(1).normal(0, 1e3, 9), maps(9), (16, 16))
    content = json.loads(made.encode())
    assert content.keys() == {"scores", "pixel_shares", "pixel_values"}
    for key, values in content.items():
        assert np.array_equal(np.array(values), getattr(made, key))


def test_another_precision_moves_scores_one_by_one_and_pixels_by_quantile() -> None:
    made = Calibration.of([1.0, 2.0, 3.0], maps(3), (8, 8))
    moved = made.moved([0.5, 0, -1], maps(3), 2 * maps(3) + 1)
    assert moved.scores.tolist() == [1.5, 2.0, 2.0]
    assert np.array_equal(moved.pixel_shares, made.pixel_shares)
    added = 1 + np.quantile(maps(3), 1 - made.pixel_shares)
    np.testing.assert_allclose(moved.pixel_values, made.pixel_values + added, rtol=1e-6)


def test_moved_values_stay_in_order() -> None:
    made = Calibration.of([1.0, 2.0, 3.0], maps(3), (8, 8))
    moved = made.moved([0, 0, 0], maps(3), -5 * maps(3))
    assert (np.diff(moved.pixel_values) >= 0).all()


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [[1.0, 2.0]]])
def test_scores_must_be_a_vector_of_numbers(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="calibration scores"):
        Calibration.of(scores, maps(2), (8, 8))
