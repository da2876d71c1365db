"""Anomalies to learn from: shape, place and opacity, read back from the pixels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from painter import Painter

from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.sources import MixedSource, Recipe, TextureSource
from automl_ad.synthesis.texture import TextureFamily

Image = npt.NDArray[np.uint8]


def disc(side: int = 96) -> Image:
    """A bright disc on black."""
    image = np.zeros((side, side, 3), np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 3, (180, 170, 160), -1)
    return image


def source_on(image: Image, opacity: tuple[float, float] = (0.2, 1.0), rule: Foreground | None = None) -> TextureSource:
    return TextureSource(Context(np.stack([image, image]), foreground=rule or Foreground()), opacity)


@pytest.fixture
def white(monkeypatch: pytest.MonkeyPatch) -> None:
    """All textures are white."""
    monkeypatch.setattr(TextureFamily, "texture", lambda _, image, __: np.full_like(image, 255))


@pytest.mark.usefixtures("white")
@pytest.mark.parametrize("opacity", [(0.2, 1.0), (0.5, 0.6), (0.3, 0.3)])
def test_opacities_fill_their_range(opacity: tuple[float, float]) -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    source, rng = source_on(black, opacity), np.random.default_rng(0)
    levels = []
    for _ in range(150):
        drawn, mask = source.draw(black, rng)
        assert len(np.unique(drawn[mask])) == 1  # one opacity for the whole of an anomaly
        levels.append(float(drawn[mask][0, 0]) / 255)
    low, high = opacity
    assert low - 1 / 255 <= min(levels) < low + 0.05 * (high - low) + 1 / 255
    assert high + 1 / 255 >= max(levels) > high - 0.05 * (high - low) - 1 / 255
    assert np.mean(levels) == pytest.approx((low + high) / 2, abs=0.06)


@pytest.mark.usefixtures("white")
def test_a_half_opaque_texture_lies_half_way() -> None:
    image = disc()
    drawn, mask = source_on(image, (0.5, 0.5)).draw(image, np.random.default_rng(1))
    half_way = (image[mask].astype(int) + 255) / 2
    assert np.abs(drawn[mask] - half_way).max() <= 0.5


def test_nothing_changes_outside_the_mask_nor_in_the_image_given() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    source, rng = source_on(image), np.random.default_rng(0)
    before = image.copy()
    for _ in range(30):
        drawn, mask = source.draw(image, rng)
        assert (drawn.shape, drawn.dtype, mask.shape, mask.dtype) == (image.shape, np.uint8, (64, 96), np.bool_)
        np.testing.assert_array_equal(drawn[~mask], image[~mask])
        assert (drawn[mask] != image[mask]).any()
    np.testing.assert_array_equal(image, before)


def test_anomalies_lie_on_the_product() -> None:
    image = disc()
    rule = Foreground("otsu", bright=True)
    product = rule.mask_of(image)
    assert 0.2 < product.mean() < 0.5
    rng = np.random.default_rng(0)
    masks = [source_on(image, rule=rule).draw(image, rng)[1] for _ in range(30)]
    assert all(mask.any() and not (mask & ~product).any() for mask in masks)
    anywhere = [source_on(image).draw(image, rng)[1] for _ in range(30)]
    assert any((mask & ~product).any() for mask in anywhere)


def test_drawings_vary_and_follow_the_seed() -> None:
    image = disc()
    source = source_on(image)
    rng = np.random.default_rng(5)
    first, second = source.draw(image, rng), source.draw(image, rng)
    again = source.draw(image, np.random.default_rng(5))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != second[1]).any()


def greys(seed: int, count: int = 300) -> list[int]:
    source, rng = MixedSource([Painter(1), Painter(2), Painter(3)]), np.random.default_rng(seed)
    return [int(source.draw(disc(32), rng)[0][0, 0, 0]) for _ in range(count)]


def test_a_mixture_takes_all_its_sources_equally_often() -> None:
    # Three standard deviations of 300 draws at a third are 24.
    assert [greys(0).count(grey) for grey in (1, 2, 3)] == pytest.approx([100] * 3, abs=24)


def test_a_mixture_follows_the_seed() -> None:
    assert greys(1, 40) == greys(1, 40) != greys(2, 40)


def test_a_mixture_of_one_is_that_one() -> None:
    image = disc()
    alone, mixed = source_on(image), MixedSource([source_on(image)])
    drawn, mask = mixed.draw(image, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    rng.integers(1)
    wanted, wanted_mask = alone.draw(image, rng)
    np.testing.assert_array_equal(drawn, wanted)
    np.testing.assert_array_equal(mask, wanted_mask)


def test_recipes_compare_by_what_they_ask_for() -> None:
    assert Recipe(("texture",), (0.2, 1.0)) == Recipe(("texture",), (0.2, 1.0), (0.5, 1.0))
    assert Recipe(("texture",), (0.2, 1.0)) != Recipe(("texture", "sdas"), (0.2, 1.0))
    assert len({Recipe(("sdas",), (0.5, 1.0)), Recipe(("sdas",), (0.5, 1.0))}) == 1
