from __future__ import annotations

import numpy as np
import pytest
from appearance import STATISTICS, whole_picture_aurocs

LABELS = np.array([False] * 4 + [True] * 4)


def noisy(count: int, *, level: float = 120, spread: float = 10, tint: float = 0, seed: int = 0) -> np.ndarray:
    """Grey noise about a level, the red of which is shifted; the levels of a few pictures differ a little."""
    rng = np.random.default_rng(seed)
    grey = level + rng.normal(0, 1, (count, 1, 1, 1)) + spread * rng.normal(size=(count, 1, 32, 32))
    return np.clip(grey + np.array([tint, 0, 0])[:, None, None], 0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray) -> np.ndarray:
    """Of the same brightness and contrast, with less detail: a picture of large squares."""
    return pixels[:, :, ::4, ::4].repeat(4, axis=2).repeat(4, axis=3)


TRAIN, GOOD = noisy(12, seed=1), noisy(4, seed=2)


def aurocs(defective: np.ndarray) -> dict[str, float]:
    return whole_picture_aurocs(TRAIN, np.concatenate([GOOD, defective]), LABELS)


@pytest.mark.parametrize("change", [-20, 20])
def test_brightness_tells_darker_and_lighter_pictures(change: float) -> None:
    assert aurocs(noisy(4, level=120 + change, seed=3))["brightness"] == 1


def test_contrast_sharpness_and_saturation_tell_what_they_are_named_for() -> None:
    assert aurocs(noisy(4, spread=25, seed=3))["contrast"] == 1
    assert aurocs(blurred(noisy(4, seed=3)))["sharpness"] == 1
    assert aurocs(noisy(4, tint=15, seed=3))["saturation"] == 1


def test_pictures_that_are_good_are_told_no_better_than_by_chance() -> None:
    """Forty against forty: an AUROC of 0.5 give or take 0.065."""
    good, other = noisy(40, seed=2), noisy(40, seed=3)
    labels = np.repeat([False, True], 40)
    found = whole_picture_aurocs(TRAIN, np.concatenate([good, other]), labels)
    assert list(found) == list(STATISTICS)
    assert all(abs(value - 0.5) < 0.2 for value in found.values())


def test_grey_pictures_have_no_saturation_to_tell_by() -> None:
    assert aurocs(noisy(4, seed=3))["saturation"] == 0.5
