"""Spots that move."""

from __future__ import annotations

import numpy as np
import pytest

from automl_ad.synthesis import masks
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.regions import region_of
from automl_ad.synthesis.warp import FARTHEST, WarpFamily, displaced, displacement

WHOLE = (slice(0, 128), slice(0, 128))


def edge(side: int = 128) -> np.ndarray:
    """Dark on the left, bright on the right."""
    image = np.full((side, side, 3), 40, np.uint8)
    image[:, side // 2 :] = 200
    return image


def test_an_edge_goes_where_the_field_says() -> None:
    field = np.zeros((128, 128, 2), np.float32)
    field[40:80, :, 0] = 7
    moved = displaced(edge(), field, WHOLE)
    np.testing.assert_array_equal(moved[:40], edge()[:40])
    np.testing.assert_array_equal(moved[40:80, :57], edge()[40:80, :57])
    assert (moved[40:80, 57:] == 200).all()


def test_nothing_moves_outside_the_spot_and_no_pixel_further_than_asked() -> None:
    inside = np.ones((128, 128), np.bool_)
    for seed in range(30):
        weight = masks.random_blob(inside, np.random.default_rng(seed), (0.02, 0.1), 0.9)
        field = displacement(weight, 10, np.random.default_rng(seed), WHOLE)
        way = np.hypot(field[..., 0], field[..., 1])
        assert not way[weight == 0].any()
        assert way.max() == pytest.approx(10, abs=0.01)


def test_a_region_moves_as_it_does_on_the_whole_image() -> None:
    noise = np.random.default_rng(3).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    weight = masks.random_blob(np.ones((128, 128), np.bool_), np.random.default_rng(1), (0.02, 0.1), 0.9)
    region = region_of(weight, 5)
    assert region is not None
    whole = displaced(noise, displacement(weight, 6, np.random.default_rng(2), WHOLE), WHOLE)
    part = displaced(noise, displacement(weight[region], 6, np.random.default_rng(2), region), region)
    np.testing.assert_array_equal(part, whole[region])


def test_pushes_swellings_and_twists_are_told_apart_by_their_fields() -> None:
    y, x = np.indices((65, 65), np.float32) - 32
    weight = np.maximum(0, 1 - np.hypot(x, y) / 30).astype(np.float32)
    kinds = set()
    for seed in range(30):
        field = displacement(weight, 5, np.random.default_rng(seed), (slice(0, 65), slice(0, 65)))
        along = float((field[..., 0] * x + field[..., 1] * y).sum())
        around = float((field[..., 1] * x - field[..., 0] * y).sum())
        centre = float(np.hypot(*field[32, 32]))
        strongest = max((abs(along), "swell" if along > 0 else "pinch"), (abs(around), f"twist {np.sign(around):g}"))
        kinds.add("push" if centre > 4 else strongest[1])
    assert kinds == {"push", "swell", "pinch", "twist 1", "twist -1"}


def test_an_edge_bends_the_further_the_more_severe_and_stays_within_the_way_of_a_pixel() -> None:
    family, farthest = WarpFamily(Context(edge()[None])), {}
    for severity in (0.3, 1.0):
        tried = [family.try_draw(edge(), severity, np.random.default_rng(seed)) for seed in range(8)]
        drawn = np.array([pair[0] for pair in tried if pair is not None], int)
        changed = np.nonzero(np.abs(drawn - edge()).max(axis=3) > 50)[2]
        farthest[severity] = float(np.abs(changed - 63.5).max())
        assert farthest[severity] <= FARTHEST * severity * 128 + 1
    assert farthest[1.0] > 2 * farthest[0.3]


def test_masks_have_no_holes_where_old_and_new_agree_by_chance() -> None:
    texture = np.random.default_rng(0).integers(60, 200, (128, 128, 3), np.uint8)
    mask = WarpFamily(Context(texture[None])).draw(texture, 1.0, np.random.default_rng(0))[1]
    rows, columns = np.nonzero(mask)
    assert mask[int(rows.mean()) - 2 : int(rows.mean()) + 3, int(columns.mean()) - 2 : int(columns.mean()) + 3].all()


@pytest.mark.parametrize("level", [0, 100, 255])
def test_on_a_flat_surface_nothing_can_be_seen_to_move(level: int) -> None:
    flat = np.full((64, 64, 3), level, np.uint8)
    family = WarpFamily(Context(flat[None]))
    assert family.try_draw(flat, 1.0, np.random.default_rng(0)) is None
    drawn, mask = family.draw(flat, 1.0, np.random.default_rng(0))
    assert (drawn != flat)[mask].any()
