"""From recipes to sources of training anomalies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from painter import Painter

from automl_ad.errors import InputError, StoreError
from automl_ad.synthesis import training
from automl_ad.synthesis.base import Context
from automl_ad.synthesis.foreground import Foreground
from automl_ad.synthesis.hard_cutpaste import HardCutPasteSource
from automl_ad.synthesis.sdas.pool import ImagePool, Request
from automl_ad.synthesis.sdas.source import PoolSource, SeededPool
from automl_ad.synthesis.sources import AnomalySource, Recipe, TextureSource
from automl_ad.synthesis.training import create_source

Image = npt.NDArray[np.uint8]
SIDE = 64
OWN, FOREIGN = 7, 9
"""Seeds of the images of the stock, and of others in its pool."""


def part(shift: int = 0) -> Image:
    """A striped disc on black."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    cv2.circle(image, (SIDE // 2 + shift, SIDE // 2), 22, (180, 170, 160), -1)
    image[::4] //= 2
    return image


PARTS = np.stack([part(shift) for shift in range(3)])
RULE = Foreground("otsu", bright=True)
CONTEXT = Context(PARTS, RULE)


def level_of(strength: float, seed: int) -> int:
    """The grey level of a whole image, which tells what it was made with."""
    return round(200 * strength) + 100 * (seed == FOREIGN)


@pytest.fixture
def stock(tmp_path: Path) -> SeededPool:
    """Images of the stock's own seed, levels 20, 40 and 100, and others, levels 120 and 200."""
    pool = ImagePool(tmp_path, {})
    own = [Request(image, strength, OWN) for image in PARTS for strength in (0.1, 0.2, 0.5)]
    foreign = [Request(image, strength, FOREIGN) for image in PARTS for strength in (0.1, 0.5)]

    def make(bases: Image, strengths: list[float], seeds: list[int]) -> Image:
        levels = [level_of(strength, seed) for strength, seed in zip(strengths, seeds, strict=True)]
        return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], bases.shape)

    pool.get([*own, *foreign], make)
    return SeededPool(pool, OWN)


def no_stock() -> SeededPool:
    raise AssertionError("nothing of the recipe is drawn from it")


def opened(stock: SeededPool) -> Callable[[], SeededPool]:
    return lambda: stock


def drawn(source: AnomalySource, seed: int) -> tuple[Image, npt.NDArray[np.bool_]]:
    return source.draw(PARTS[0], np.random.default_rng(seed))


def check_same(one: AnomalySource, other: AnomalySource) -> None:
    for seed in range(8):
        for ours, theirs in zip(drawn(one, seed), drawn(other, seed), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def differ(one: AnomalySource, other: AnomalySource) -> bool:
    return any((drawn(one, seed)[0] != drawn(other, seed)[0]).any() for seed in range(8))


def shown(source: AnomalySource, draws: int = 60) -> set[int]:
    """The levels under the masks: those of the images, if these are opaque."""
    pairs = [drawn(source, seed) for seed in range(draws)]
    return {int(level) for image, mask in pairs for level in np.unique(image[mask])}


def test_textures_are_as_opaque_as_the_recipe_says() -> None:
    source = create_source(Recipe(("texture",), (0.3, 0.4)), CONTEXT, no_stock)
    check_same(source, TextureSource(CONTEXT, (0.3, 0.4)))
    assert differ(source, TextureSource(CONTEXT, (0.9, 1.0)))


def test_pasted_pieces_are_as_opaque_as_the_recipe_says() -> None:
    source = create_source(Recipe(("cutpaste",), (0.3, 0.4)), CONTEXT, no_stock)
    check_same(source, HardCutPasteSource(CONTEXT, (0.3, 0.4)))
    assert differ(source, HardCutPasteSource(CONTEXT, (0.9, 1.0)))


def test_images_of_sdas_are_as_strong_and_as_opaque_as_the_recipe_says(stock: SeededPool) -> None:
    source = create_source(Recipe(("sdas",), (0.3, 0.4), (0.2, 0.5)), CONTEXT, opened(stock))
    check_same(source, PoolSource(stock.pool, (0.2, 0.5), RULE, (0.3, 0.4), OWN))
    assert differ(source, PoolSource(stock.pool, (0.2, 0.5), RULE, (0.9, 1.0), OWN))
    assert shown(create_source(Recipe(("sdas",), (1.0, 1.0), (0.2, 0.5)), CONTEXT, opened(stock))) == {40, 100}
    assert shown(create_source(Recipe(("sdas",), (1.0, 1.0), (0.1, 0.2)), CONTEXT, opened(stock))) == {20, 40}


def test_images_of_another_seed_than_the_stock_s_are_never_shown(stock: SeededPool) -> None:
    recipe = Recipe(("sdas",), (1.0, 1.0), (0.1, 0.5))
    assert shown(create_source(recipe, CONTEXT, opened(stock))) == {20, 40, 100}
    other = SeededPool(stock.pool, FOREIGN)
    assert shown(create_source(recipe, CONTEXT, opened(other))) == {120, 200}


@pytest.mark.parametrize("families", [("texture",), ("cutpaste",), ("sdas",), ("texture", "cutpaste", "sdas")])
def test_anomalies_lie_on_the_product(families: tuple[str, ...], stock: SeededPool) -> None:
    source = create_source(Recipe(families, (0.5, 1.0)), CONTEXT, opened(stock))
    product = RULE.mask_of(PARTS[0])
    assert 0.1 < product.mean() < 0.6
    masks = [drawn(source, seed)[1] for seed in range(20)]
    assert all(mask.any() and not (mask & ~product).any() for mask in masks)


def test_users_textures_are_used(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((96, 96, 3), (0, 0, 255), np.uint8))
    recipe = Recipe(("texture",), (1.0, 1.0))
    context = Context(PARTS, RULE, tmp_path)
    check_same(create_source(recipe, context, no_stock), TextureSource(context, (1.0, 1.0)))
    assert differ(create_source(recipe, context, no_stock), TextureSource(CONTEXT, (1.0, 1.0)))


def test_several_families_are_mixed_each_as_often(monkeypatch: pytest.MonkeyPatch, stock: SeededPool) -> None:
    greys = {"TextureSource": 1, "HardCutPasteSource": 2, "PoolSource": 3}
    for name, grey in greys.items():
        monkeypatch.setattr(training, name, lambda *_, grey=grey: Painter(grey))
    both = create_source(Recipe(("texture", "sdas"), (0.2, 1.0)), CONTEXT, opened(stock))
    assert shown(both) == {1, 3}
    every = create_source(Recipe(("texture", "cutpaste", "sdas"), (0.2, 1.0)), CONTEXT, opened(stock))
    counts = np.bincount([drawn(every, seed)[0].flat[0] for seed in range(300)])
    # Three standard deviations of 300 draws at a third are 24.
    assert counts[1:].tolist() == pytest.approx([100] * 3, abs=24)


@pytest.mark.parametrize("families", [("magic",), ("texture", "magic"), ("poisson",)])
def test_what_cannot_be_learned_from_is_refused(families: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=rf"the family '{families[-1]}': choose among texture, cutpaste and sdas"):
        create_source(Recipe(families, (0.2, 1.0)), CONTEXT, no_stock)


def test_strengths_that_were_not_stocked_are_refused(stock: SeededPool) -> None:
    with pytest.raises(InputError, match=r"no image of strength 0\.6 to 0\.9"):
        create_source(Recipe(("sdas",), (0.2, 1.0), (0.6, 0.9)), CONTEXT, opened(stock))


def test_a_lost_stock_is_told_of() -> None:
    def lost() -> SeededPool:
        raise StoreError("lost")

    with pytest.raises(StoreError, match="lost"):
        create_source(Recipe(("texture", "sdas"), (0.2, 1.0)), CONTEXT, lost)
