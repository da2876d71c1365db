"""Random colour changes."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis import colour
from automl_ad.synthesis.colour import augment, colour_jitter, is_grey, without_colour


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (32, 48, 3), np.uint8)


def test_jitter_of_strength_zero_keeps_the_image_up_to_rounding() -> None:
    changed = colour_jitter(noise(), np.random.default_rng(0), 0.0)
    assert np.abs(changed.astype(int) - noise()).max() <= 6


def test_jitter_always_shows_and_grows_with_strength() -> None:
    flat = np.full((16, 16, 3), 120, np.uint8)
    for seed in range(20):
        faint, strong = (
            np.abs(colour_jitter(flat, np.random.default_rng(seed), strength).astype(float) - flat).mean()
            for strength in (0.1, 0.4)
        )
        # Brightness moves by half to all of the strength: 120 levels x 0.05 and x 0.4.
        assert 5 <= faint < strong <= 49


@pytest.mark.parametrize("index", range(len(colour._CHANGES)))
def test_every_change_changes_a_copy_and_keeps_the_layout(index: int) -> None:
    image = noise()
    changed = colour._CHANGES[index](image, np.random.default_rng(1))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, image)
    np.testing.assert_array_equal(image, noise())


def test_invert_and_stretch_by_hand() -> None:
    image = np.array([[[50, 100, 150]]], np.uint8)
    rng = np.random.default_rng(0)
    assert colour._invert(image, rng).tolist() == [[[205, 155, 105]]]
    assert colour._stretch(image, rng).tolist() == [[[0, 128, 255]]]


def test_augment_repeats_with_the_seed_and_differs_between_seeds() -> None:
    drawn = [augment(noise(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_grey_images_are_told_from_coloured_ones() -> None:
    assert not is_grey(noise())
    assert is_grey(without_colour(noise()))
    assert is_grey(np.clip(without_colour(noise()).astype(int) + np.arange(3), 0, 255).astype(np.uint8))
