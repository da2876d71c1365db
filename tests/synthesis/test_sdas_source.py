from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.errors import InputError
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas.pool import PicturePool, Request
from automl_ad.synthesis.sdas.source import PoolSource, spread_strengths

SIDE = 64
BASES = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (60, 120)]


def coded(bases: np.ndarray, strengths: list[float], seeds: list[int]) -> np.ndarray:
    """Pictures whose level says what they were made of: base + 100 s + seed."""
    levels = [int(base[0, 0, 0]) + round(100 * s) + seed for base, s, seed in zip(bases, strengths, seeds, strict=True)]
    return np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


@pytest.fixture
def pool(tmp_path: Path) -> PicturePool:
    pool = PicturePool(tmp_path, {})
    pool.get([Request(base, s, seed) for base in BASES for s in (0.1, 0.2, 0.5) for seed in (0, 7)], coded)
    return pool


def levels_drawn(source: PoolSource, image: np.ndarray, draws: int = 40) -> set[int]:
    """The pictures that a source shows through its masks, when it is opaque."""
    rng, found = np.random.default_rng(0), set()
    for _ in range(draws):
        drawn, mask = source.draw(image, rng)
        found |= set(np.unique(drawn[mask]).tolist())
    return found


def opaque(pool: PicturePool, low: float, high: float, seed: int | None = 0) -> PoolSource:
    return PoolSource(pool, (low, high), Foreground(), opacities=(1.0, 1.0), seed=seed)


def test_strengths_are_spread_evenly_with_both_ends() -> None:
    assert spread_strengths(0.1, 0.3, 3) == pytest.approx([0.1, 0.2, 0.3])


def test_another_range_is_another_slice_of_the_same_pool(pool: PicturePool) -> None:
    assert levels_drawn(opaque(pool, 0.0, 0.2), BASES[0]) == {70, 80}
    assert levels_drawn(opaque(pool, 0.2, 0.5), BASES[0]) == {80, 110}
    assert len(pool) == 12


def test_an_image_gets_pictures_of_itself(pool: PicturePool) -> None:
    assert levels_drawn(opaque(pool, 0.1, 0.1), BASES[1]) == {130}


def test_an_image_that_the_pool_does_not_know_gets_any(pool: PicturePool) -> None:
    assert levels_drawn(opaque(pool, 0.1, 0.1), np.full((SIDE, SIDE, 3), 200, np.uint8)) == {70, 130}


def test_seeds_can_be_told_apart(pool: PicturePool) -> None:
    assert levels_drawn(opaque(pool, 0.1, 0.1, seed=7), BASES[0]) == {77}
    assert levels_drawn(opaque(pool, 0.1, 0.1, seed=None), BASES[0]) == {70, 77}


def test_opacity_stays_in_its_range_and_the_rest_of_the_image_as_it_is(pool: PicturePool) -> None:
    source, rng = PoolSource(pool, (0.5, 0.5), Foreground(), opacities=(0.4, 0.8), seed=0), np.random.default_rng(3)
    for _ in range(20):
        drawn, mask = source.draw(BASES[0], rng)
        change = drawn.astype(int) - BASES[0]
        assert not change[~mask].any()
        assert mask.any()
        assert set(np.unique(change[mask])) <= set(range(20, 41))  # 0.4 to 0.8 of the 50 levels between them


def test_equal_generators_draw_equal_anomalies(pool: PicturePool) -> None:
    source = PoolSource(pool, (0.1, 0.5), Foreground())
    first, second = (source.draw(BASES[0], np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_range_without_pictures_is_refused_with_the_remedy(pool: PicturePool) -> None:
    with pytest.raises(InputError, match=r"no picture of strength 0\.6 to 1: widen the range"):
        PoolSource(pool, (0.6, 1.0), Foreground())


def test_the_base_of_a_picture_is_the_hash_of_its_pixels(pool: PicturePool) -> None:
    assert {key.base for key in pool.slice(0, 1)} == {pixel_hash(base) for base in BASES}
