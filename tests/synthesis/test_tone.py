"""Tones of marks."""

from __future__ import annotations

import numpy as np

from automl_ad.synthesis.scale import pixel_scale
from automl_ad.synthesis.tone import STRONGEST_CHANGE, brightness_shifted, random_tint, shift_direction, shifted

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
