"""Colours and tones."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis import colour
from automl_ad.synthesis.base import pixel_scale
from automl_ad.synthesis.colour import (
    STRONGEST_CHANGE,
    augment,
    brightness_shifted,
    colour_jitter,
    is_grey,
    random_tint,
    shift_direction,
    shifted,
    without_colour,
)


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


INSIDE = np.ones((4, 4), np.bool_)


def flat(*colour: int) -> np.ndarray:
    return np.full((4, 4, 3), colour, np.uint8)


def test_shifting_moves_every_level_and_stops_at_black_and_white() -> None:
    assert (shifted(flat(10, 100, 250), 20) == (30, 120, 255)).all()
    assert (shifted(flat(10, 100, 250), -20) == (0, 80, 230)).all()


def test_the_direction_is_where_there_is_room_on_the_product() -> None:
    image = flat(0, 0, 0)
    image[0] = 255
    top = np.zeros((4, 4), np.bool_)
    top[0] = True
    for seed in range(20):
        assert shift_direction(image, top, np.random.default_rng(seed)) == -1
        assert shift_direction(image, ~top, np.random.default_rng(seed)) == 1


def test_relit_images_are_much_brighter_or_darker() -> None:
    levels = {
        int(brightness_shifted(flat(128, 128, 128), INSIDE, np.random.default_rng(seed))[0, 0, 0]) for seed in range(20)
    }
    assert levels == {0, 255}
    assert (brightness_shifted(flat(0, 0, 0), INSIDE, np.random.default_rng(0)) == STRONGEST_CHANGE).all()


def test_grey_products_get_grey_tints() -> None:
    grey, coloured = (random_tint(image, np.random.default_rng(1)) for image in (flat(9, 9, 9), flat(9, 99, 9)))
    assert len(set(grey)) == 1
    assert len(set(coloured)) == 3


def test_pixels_grow_with_the_shorter_side() -> None:
    assert pixel_scale((512, 1024, 3)) == 2
    assert pixel_scale((300, 128)) == 0.5
