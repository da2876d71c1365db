"""The direction of a surface's texture."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis.grain import grain_angle

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
