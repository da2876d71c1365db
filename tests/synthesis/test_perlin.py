"""Perlin noise against a plain pixel-by-pixel evaluation, and the masks cut from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_ad.synthesis import perlin
from automl_ad.synthesis.perlin import perlin_mask, perlin_noise


def noise_by_loops(shape: tuple[int, int], resolution: tuple[int, int], seed: int) -> np.ndarray:
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (resolution[0] + 1, resolution[1] + 1))
    noise = np.zeros(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            y, x = i * resolution[0] / shape[0], j * resolution[1] / shape[1]
            total = 0.0
            for row in (int(y), int(y) + 1):
                for column in (int(x), int(x) + 1):
                    dy, dx = y - row, x - column
                    share = np.prod([1 - (6 * t**5 - 15 * t**4 + 10 * t**3) for t in (abs(dy), abs(dx))])
                    total += share * (np.cos(angles[row, column]) * dx + np.sin(angles[row, column]) * dy)
            noise[i, j] = np.sqrt(2) * total
    return noise


@pytest.mark.parametrize(("shape", "resolution"), [((32, 32), (4, 4)), ((32, 64), (1, 8)), ((64, 32), (16, 2))])
def test_noise_equals_the_textbook_definition(shape: tuple[int, int], resolution: tuple[int, int]) -> None:
    noise = perlin_noise(shape, resolution, np.random.default_rng(5))
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise, noise_by_loops(shape, resolution, 5), atol=2e-5)


def test_noise_vanishes_on_the_lattice_and_stays_in_range() -> None:
    noise = perlin_noise((256, 256), (8, 16), np.random.default_rng(0))
    assert np.abs(noise[::32, ::16]).max() < 1e-6
    assert 0.5 < np.abs(noise).max() <= 1.01


def test_noise_refuses_a_lattice_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="divisible"):
        perlin_noise((48, 32), (32, 32), np.random.default_rng(0))


@given(
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    foreground=st.sampled_from(["none", "half", "pixel"]),
)
@settings(max_examples=60, deadline=None)
def test_masks_are_inside_and_never_empty(rows: int, columns: int, seed: int, foreground: str) -> None:
    shape = (32 * rows, 32 * columns)
    inside = np.zeros(shape, np.bool_)
    inside[: {"none": shape[0], "half": shape[0] // 2, "pixel": 1}[foreground]] = True
    if foreground == "pixel":
        inside[:, 1:] = False
    mask = perlin_mask(shape, np.random.default_rng(seed), foreground=None if foreground == "none" else inside)
    assert mask.shape == shape
    assert mask.any()
    assert not (mask & ~inside).any()


def test_areas_keep_to_the_window() -> None:
    areas = [perlin_mask((128, 128), np.random.default_rng(seed), (0.02, 0.08)).mean() for seed in range(60)]
    assert min(areas) >= 0.02
    assert max(areas) <= 0.08


def test_usual_areas_are_those_of_the_published_recipe() -> None:
    # Median area of the raw recipe at 256 pixels is 4.6 %, quartiles 3.7 and 5.5 %.
    areas = [perlin_mask((256, 256), np.random.default_rng(seed)).mean() for seed in range(120)]
    assert 0.04 < np.median(areas) < 0.052


def test_an_ellipse_takes_over_when_noise_never_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perlin, "_one_mask", lambda shape, rng: np.zeros(shape, np.bool_))
    inside = np.zeros((64, 64), np.bool_)
    inside[20:50, 20:50] = True
    mask = perlin_mask((64, 64), np.random.default_rng(0), (0.05, 0.2), inside)
    assert mask.any()
    assert not (mask & ~inside).any()
