"""Good images turned: by hand where pixels fall on pixels, and how far."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.methods.destseg import rotation
from automl_ad.methods.destseg.rotation import Rotation, rotate, rotation_augment


def picture(height: int = 32, width: int = 32) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_move_whole_pixels(quarters: int) -> None:
    np.testing.assert_array_equal(rotate(picture(), 90.0 * quarters), np.rot90(picture(), quarters))


def test_half_turns_keep_what_is_not_square_whole() -> None:
    np.testing.assert_array_equal(rotate(picture(32, 64), 180.0), np.rot90(picture(32, 64), 2))


def test_corners_mirror_the_image() -> None:
    """What comes into view is no grey of its own, which an anomaly could hide behind."""
    plain = np.full((64, 96, 3), (200, 20, 90), np.uint8)
    np.testing.assert_array_equal(rotate(plain, 5.0), plain)


@pytest.mark.parametrize(
    ("kind", "size", "steps"),
    [
        ("slight", (32, 32), {0}),
        ("slight", (32, 64), {0}),
        ("full", (32, 32), {0, 90, 180, 270}),
        ("full", (32, 64), {0, 180}),
    ],
)
def test_angles(kind: Rotation, size: tuple[int, int], steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    angles: list[float] = []
    monkeypatch.setattr(rotation, "rotate", lambda image, degrees: angles.append(degrees) or image)
    vary, rng = rotation_augment(kind), np.random.default_rng(0)
    assert vary is not None
    for _ in range(200):
        vary(picture(*size), rng)
    nearest = [min(steps, key=lambda step: abs(angle - step)) for angle in angles]
    aside = np.subtract(angles, nearest)
    assert set(nearest) == steps
    assert np.abs(aside).max() <= 5
    assert aside.min() < -4.5
    assert aside.max() > 4.5


def test_the_generator_decides_and_shapes_stay() -> None:
    vary = rotation_augment("full")
    assert vary is not None
    first, again, other = (vary(picture(32, 64), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (32, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_rotation_leaves_the_good_images_their_name() -> None:
    assert rotation_augment("none") is None
