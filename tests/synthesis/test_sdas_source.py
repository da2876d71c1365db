from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automl_ad.data.fingerprint import pixel_hash
from automl_ad.errors import InputError
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sdas.pool import ImagePool, Request
from automl_ad.synthesis.sdas.source import PoolSource, SeededPool, spread_strengths

SIDE = 64
BASES = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (60, 120)]


def coded(bases: np.ndarray, strengths: list[float], seeds: list[int]) -> np.ndarray:
    """Images whose level says what they were made of: base + 100 s + seed."""
    levels = [int(base[0, 0, 0]) + round(100 * s) + seed for base, s, seed in zip(bases, strengths, seeds, strict=True)]
    return np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


@pytest.fixture
def pool(tmp_path: Path) -> ImagePool:
    pool = ImagePool(tmp_path, {})
    pool.get([Request(base, s, seed) for base in BASES for s in (0.1, 0.2, 0.5) for seed in (0, 7)], coded)
    return pool


def levels_drawn(source: PoolSource, image: np.ndarray, draws: int = 40) -> set[int]:
    """The pictures that a source shows through its masks, when it is opaque."""
    rng, found = np.random.default_rng(0), set()
    for _ in range(draws):
        drawn, mask = source.draw(image, rng)
        found |= set(np.unique(drawn[mask]).tolist())
    return found


def opaque(pool: ImagePool, low: float, high: float, seed: int | None = 0) -> PoolSource:
    return PoolSource(pool, (low, high), Foreground(), opacities=(1.0, 1.0), seed=seed)


def test_strengths_are_spread_evenly_with_both_ends() -> None:
    assert spread_strengths(0.1, 0.3, 3) == pytest.approx([0.1, 0.2, 0.3])


def test_another_range_is_another_slice_of_the_same_pool(pool: ImagePool) -> None:
    assert levels_drawn(opaque(pool, 0.0, 0.2), BASES[0]) == {70, 80}
    assert levels_drawn(opaque(pool, 0.2, 0.5), BASES[0]) == {80, 110}
    assert len(pool) == 12


def test_an_image_gets_images_of_itself(pool: ImagePool) -> None:
    assert levels_drawn(opaque(pool, 0.1, 0.1), BASES[1]) == {130}


def test_an_image_that_the_pool_does_not_know_gets_any(pool: ImagePool) -> None:
    assert levels_drawn(opaque(pool, 0.1, 0.1), np.full((SIDE, SIDE, 3), 200, np.uint8)) == {70, 130}


def test_seeds_can_be_told_apart(pool: ImagePool) -> None:
    assert levels_drawn(opaque(pool, 0.1, 0.1, seed=7), BASES[0]) == {77}
    assert levels_drawn(opaque(pool, 0.1, 0.1, seed=None), BASES[0]) == {70, 77}


def test_opacity_stays_in_its_range_and_the_rest_of_the_image_as_it_is(pool: ImagePool) -> None:
    source, rng = PoolSource(pool, (0.5, 0.5), Foreground(), opacities=(0.4, 0.8), seed=0), np.random.default_rng(3)
    for _ in range(20):
        drawn, mask = source.draw(BASES[0], rng)
        change = drawn.astype(int) - BASES[0]
        assert not change[~mask].any()
        assert mask.any()
        assert set(np.unique(change[mask])) <= set(range(20, 41))  # 0.4 to 0.8 of the 50 levels between them


def test_equal_generators_draw_equal_anomalies(pool: ImagePool) -> None:
    source = PoolSource(pool, (0.1, 0.5), Foreground())
    first, second = (source.draw(BASES[0], np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_range_without_images_is_refused_with_the_remedy(pool: ImagePool) -> None:
    with pytest.raises(InputError, match=r"no image of strength 0\.6 to 1: widen the range"):
        PoolSource(pool, (0.6, 1.0), Foreground())


def test_the_base_of_a_image_is_the_hash_of_its_pixels(pool: ImagePool) -> None:
    assert {key.base for key in pool.slice(0, 1)} == {pixel_hash(base) for base in BASES}


def stocked(folder: Path, synthetic: np.ndarray) -> ImagePool:
    """A pool of one synthetic."""
    pool = ImagePool(folder, {})
    pool.get([Request(np.zeros_like(synthetic), 0.1, 0)], lambda *_: synthetic[None])
    return pool


def stripes(side: int) -> np.ndarray:
    """Every fourth row is 200 and the others 0; the right half is 40 brighter."""
    synthetic = np.zeros((side, side, 3), np.uint8)
    synthetic[::4] = 200
    synthetic[:, side // 2 :] += 40
    return synthetic


def test_images_are_averaged_down_to_the_size_of_the_image(tmp_path: Path) -> None:
    source, image = opaque(stocked(tmp_path, stripes(128)), 0.1, 0.1), np.full((32, 32, 3), 120, np.uint8)
    wanted = np.full_like(image, 50)  # a quarter of 200
    wanted[:, 16:] = 90
    seen, rng = np.zeros((32, 32), np.bool_), np.random.default_rng(0)
    for _ in range(40):
        drawn, mask = source.draw(image, rng)
        assert (drawn.shape, mask.shape) == (image.shape, (32, 32))
        np.testing.assert_array_equal(drawn[mask], wanted[mask])
        np.testing.assert_array_equal(drawn[~mask], image[~mask])
        seen |= mask
    assert seen[:, :16].any()
    assert seen[:, 16:].any()


def test_rows_and_columns_of_a_resized_image_are_not_mixed_up(tmp_path: Path) -> None:
    synthetic = np.zeros((32, 64, 3), np.uint8)
    synthetic[16:] = 100
    synthetic[:, 32:] += 50
    source, image = opaque(stocked(tmp_path, synthetic), 0.1, 0.1), np.full((64, 128, 3), 255, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(40):
        drawn, mask = source.draw(image, rng)
        for quarter, level in (((0, 0), 0), ((0, 1), 50), ((1, 0), 100), ((1, 1), 150)):
            part = tuple(
                slice(half * side + 2, half * side + side - 2) for half, side in zip(quarter, (32, 64), strict=True)
            )
            assert set(drawn[part][mask[part]].ravel().tolist()) <= {level}


def test_an_image_gets_images_of_itself_only_at_the_size_that_they_were_made_of(pool: ImagePool) -> None:
    """At another size it is another synthetic to the pool: any of those in range will do."""
    small = np.full((SIDE // 2, SIDE // 2, 3), 120, np.uint8)
    assert levels_drawn(opaque(pool, 0.1, 0.1), small) == {70, 130}


def test_a_stock_names_its_images_among_others(pool: ImagePool) -> None:
    stock = SeededPool(pool, 7)
    source = PoolSource(stock.pool, (0.1, 0.1), Foreground(), opacities=(1.0, 1.0), seed=stock.seed)
    assert levels_drawn(source, BASES[1]) == {137}
