"""Chips and worn patches."""

from __future__ import annotations

import cv2
import numpy as np

from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.missing import AREA, MissingFamily, chip, worn_patch

WHOLE = np.ones((128, 128), np.bool_)


def part() -> tuple[np.ndarray, np.ndarray]:
    """A bright disc with a halo on a dark ground, and where it is."""
    y, x = np.indices((128, 128)) - 64
    distance = np.hypot(x, y)
    image = np.full((128, 128, 3), 30, np.uint8)
    image[distance <= 42] = 90
    image[distance <= 40] = 200
    return image, distance <= 40


def test_a_chip_lets_the_background_show_not_its_halo() -> None:
    image, inside = part()
    for seed in range(15):
        proposal = chip(image, inside, np.random.default_rng(seed))
        assert not proposal.weight[~inside].any()
        assert (proposal.source[inside] == 30).all()


def test_chips_touch_the_rim() -> None:
    image, inside = part()
    rim = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    for seed in range(15):
        assert chip(image, inside, np.random.default_rng(seed)).weight[rim].max() == 1


def test_a_product_that_leaves_no_background_clear_of_it_is_filled_with_what_there_is() -> None:
    image = np.full((128, 128, 3), 200, np.uint8)
    image[0, 0] = 30
    inside = np.ones((128, 128), np.bool_)
    inside[0, 0] = False
    assert (chip(image, inside, np.random.default_rng(0)).source[inside] == 30).all()


def test_a_worn_patch_has_the_tone_of_its_surroundings_without_their_detail() -> None:
    rng = np.random.default_rng(3)
    image = np.clip(rng.normal(120, 20, (128, 128, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    for seed in range(10):
        proposal = worn_patch(image, WHOLE, np.random.default_rng(seed))
        patch = proposal.source[proposal.weight > 0].astype(float)
        assert abs(patch.mean() - 120) < 8
        assert patch.std() < 10
        assert 0 < (proposal.weight > 0).mean() < 2 * AREA[1]


def test_the_family_breaks_pieces_off_objects_and_wears_textures() -> None:
    image, _ = part()
    chipped = MissingFamily(Context(image[None], Foreground("otsu", bright=True)))
    drawn, mask = chipped.draw(image, 1.0, np.random.default_rng(0))
    assert (drawn[mask].mean(), image[mask].mean()) < (150, 200)

    stripes = np.repeat((100 + 50 * (np.indices((128, 128))[1] // 2 % 2))[..., None], 3, axis=2).astype(np.uint8)
    worn, mask = MissingFamily(Context(stripes[None])).draw(stripes, 1.0, np.random.default_rng(0))
    assert worn[mask].std() < stripes[mask].std()


def test_the_more_severe_the_more_of_the_background_shows() -> None:
    image, _ = part()
    family = MissingFamily(Context(image[None], Foreground("otsu", bright=True)))
    changes = []
    for severity in (0.05, 0.3, 1.0):
        drawn, mask = family.draw(image, severity, np.random.default_rng(2))
        changes.append(np.abs(drawn.astype(int) - image)[mask].mean())
    assert 2 * changes[0] < changes[1] < changes[2]


def test_on_a_flat_surface_nothing_comes_of_a_worn_patch() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    family = MissingFamily(Context(image[None]))
    assert family.try_draw(image, 1.0, np.random.default_rng(0)) is None
    assert family.draw(image, 1.0, np.random.default_rng(0))[1].any()
