"""Seamless cloning against a dense linear solve and cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.synthesis.gradients import seamless_clone


def noise(seed: int, h: int, w: int, low: int = 90, high: int = 160) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (h, w, 3), np.uint8)


def clone_by_dense_solve(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solves the five-point equations of every inner pixel at once."""
    h, w = target.shape[:2]
    number = np.arange(h * w).reshape(h, w)
    matrix, right = np.eye(h * w), target.reshape(-1, 3).astype(float)
    for i in range(1, h - 1):
        for j in range(1, w - 1):
            row, around = number[i, j], [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
            matrix[row, row] = -4
            for place in around:
                matrix[row, number[place]] = 1
            right[row] = sum(source[place].astype(float) for place in around) - 4.0 * source[i, j]
    return np.clip(np.linalg.solve(matrix, right).reshape(h, w, 3), 0, 255)


@given(h=st.integers(3, 12), w=st.integers(3, 12), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_clone_solves_poissons_equation(h: int, w: int, seed: int) -> None:
    source, target = noise(seed, h, w), noise(seed + 1, h, w)
    exact = clone_by_dense_solve(source, target)
    assert np.abs(seamless_clone(source, target, mixed=False) - exact).max() <= 0.51


@pytest.mark.parametrize("mixed", [False, True])
def test_border_stays_and_a_shifted_tone_is_no_difference(mixed: bool) -> None:
    target = noise(0, 20, 30)
    cloned = seamless_clone(noise(5, 20, 30), target, mixed)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_array_equal(cloned[edge], target[edge])
    np.testing.assert_array_equal(seamless_clone(target + np.uint8(40), target, mixed), target)


def test_mixed_gradients_keep_the_targets_structure_under_a_flat_source() -> None:
    target = noise(0, 20, 30)
    flat = np.full_like(target, 60)
    np.testing.assert_array_equal(seamless_clone(flat, target, mixed=True), target)
    assert seamless_clone(flat, target, mixed=False)[4:-4, 4:-4].std() < 0.6 * target.std()
