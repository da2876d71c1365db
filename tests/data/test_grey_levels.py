from __future__ import annotations

import numpy as np
import pytest

from automl_ad.data import grey_levels
from automl_ad.data.grey_levels import few_levels, levels_used


def test_the_levels_are_counted_by_hand() -> None:
    pixels = np.zeros((2, 3, 50, 100), np.uint8)
    pixels[0, 0, :10] = 255
    pixels[1, 2, 5, :3] = 7  # 3 of 30,000 pixels: one in 10,000 and no more
    assert levels_used(pixels) == 2
    pixels[1, 2, 5, :4] = 7
    assert levels_used(pixels) == 3
    assert levels_used(np.empty((0, 3, 8, 8), np.uint8)) == 0


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_large_sets_are_counted_in_parts(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (3, 3, 9, 11), np.uint8)
    monkeypatch.setattr(grey_levels, "_AT_ONCE", at_once)
    assert levels_used(pixels) == len(np.unique(pixels))


def test_a_single_level_is_not_few() -> None:
    assert [used for used in range(257) if few_levels(used)] == list(range(2, 24))
