"""Each kind of photometric defect by its mark."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from automl_ad.synthesis.photometric import _KINDS, blur, exposure, pits, scratch, stain

INSIDE = np.ones((128, 128), np.bool_)


def board(side: int = 128) -> np.ndarray:
    grey = 100 + 60 * (np.indices((side, side)).sum(axis=0) % 2)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_stays_inside_and_is_local(kind) -> None:  # type: ignore[no-untyped-def]
    inside = np.zeros((128, 128), np.bool_)
    inside[30:100, 40:110] = True
    for seed in range(10):
        weight = kind(board(), inside, np.random.default_rng(seed)).weight
        assert weight.dtype == np.float32
        assert 0 <= weight.min() <= weight.max() <= 1
        assert not weight[~inside].any()
        assert weight.mean() < 0.2


def test_blur_takes_the_detail_away() -> None:
    blurred = blur(board(), INSIDE, np.random.default_rng(0))
    spot = blurred.source[blurred.weight > 0]
    assert spot.std() < 0.1 * board().std()
    assert spot.mean() == pytest.approx(board().mean(), abs=1)


def test_exposure_moves_all_channels_alike_towards_where_there_is_room() -> None:
    dark, light = np.full((64, 64, 3), 4, np.uint8), np.full((64, 64, 3), 251, np.uint8)
    inside = np.ones((64, 64), np.bool_)
    rises = [exposure(dark, inside, np.random.default_rng(seed)).source.mean() > 4 for seed in range(20)]
    falls = [exposure(light, inside, np.random.default_rng(seed)).source.mean() < 251 for seed in range(20)]
    assert sum(rises) >= 18
    assert sum(falls) >= 18


def test_stains_let_the_surface_show_through_and_tint_only_coloured_products() -> None:
    spot = stain(board(), INSIDE, np.random.default_rng(0))
    assert spot.source[spot.weight > 0].std(axis=0) == pytest.approx([9, 9, 9], abs=0.5)
    coloured = board()
    coloured[..., 2] = 20
    tinted = stain(coloured, INSIDE, np.random.default_rng(0))
    tints = (tinted.source.astype(float) - 0.3 * coloured)[tinted.weight > 0]
    assert np.ptp(tints.mean(axis=0)) > 10


def test_scratches_are_thin_and_connected() -> None:
    for seed in range(10):
        mask = scratch(board(), INSIDE, np.random.default_rng(seed)).weight > 0.5
        assert mask.any()
        thickness = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5).max()
        assert thickness <= 4
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 <= 3


def test_pits_are_few_and_small() -> None:
    for seed in range(10):
        mask = pits(board(), INSIDE, np.random.default_rng(seed)).weight > 0.5
        assert 1 <= cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 <= 12
        assert mask.mean() < 0.03
