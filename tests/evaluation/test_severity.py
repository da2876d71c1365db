from __future__ import annotations

import numpy as np
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.severity import LADDER, calibrated_strengths, interpolated
from automl_ad.synthesis.base import Context


def test_a_rung_that_hits_the_severity_is_its_strength() -> None:
    reached = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert interpolated(reached, 0.8) == pytest.approx(LADDER[3])


def test_between_rungs_strength_grows_in_equal_ratios() -> None:
    reached = np.array([0.5, 0.5, 0.6, 0.8, 0.9, 1.0])
    assert interpolated(reached, 0.7) == pytest.approx((LADDER[2] * LADDER[3]) ** 0.5)


def test_out_of_reach_is_the_strongest_and_below_the_first_rung_the_faintest() -> None:
    assert interpolated(np.array([0.5, 0.5, 0.5, 0.55, 0.6, 0.7]), 0.95) == LADDER[-1]
    assert interpolated(np.array([0.9, 0.95, 1, 1, 1, 1]), 0.7) == LADDER[0]


def test_a_dip_in_the_ladder_is_smoothed_over() -> None:
    dipped = interpolated(np.array([0.5, 0.7, 0.6, 0.8, 0.9, 1.0]), 0.85)
    assert dipped == pytest.approx(interpolated(np.array([0.5, 0.65, 0.65, 0.8, 0.9, 1.0]), 0.85))


def brightest_change(images: ImageSet) -> np.ndarray:
    """A detector that knows the flat good images by heart."""
    return np.abs(images.pixels.astype(np.float64) - 128).mean((1, 2, 3)) + np.linspace(0, 3, len(images)) % 1


def test_harder_severities_get_fainter_strengths() -> None:
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(128, 6, (6, 64, 64, 3)), 0, 255).astype(np.uint8)
    normals = ImageSet.of(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    found = calibrated_strengths(
        Context(images), normals, ("texture", "photometric"), (0.6, 0.95), [brightest_change], 8, rng
    )
    for strengths in found.values():
        assert 0 < strengths[0.6] <= strengths[0.95] <= 1
