"""Who shares training anomalies with whom."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.errors import StoreError
from automl_ad.methods.pairs import Pairs, PairSource
from automl_ad.study import training_anomalies as module
from automl_ad.study.training_anomalies import TrainingAnomalies
from automl_ad.synthesis.sdas.pool import ImagePool, Request
from automl_ad.synthesis.sdas.source import SeededPool
from automl_ad.synthesis.sources import Recipe

TEXTURE = Recipe(("texture",), (0.5, 1.0))
SDAS = Recipe(("sdas",), (1.0, 1.0), (0.1, 0.5))
GREY = 231


def no_stock() -> SeededPool:
    raise AssertionError("no recipe wants pictures of sdas")


def anomalies(seed: int = 0) -> TrainingAnomalies:
    return TrainingAnomalies(seed, None, no_stock)


def source_of(makes: TrainingAnomalies, recipe: Recipe, normals: ImageSet) -> PairSource:
    source = makes.of(recipe, normals)
    assert source is not None
    return source


def drawn_on(makes: TrainingAnomalies, recipe: Recipe, normals: ImageSet) -> str:
    """Names the anomalous images of eight pairs."""
    return source_of(makes, recipe, normals).pairs(normals, 8).anomalous.key


def picture(colour: int, side: int = 32) -> npt.NDArray[np.uint8]:
    image = np.full((side, side, 3), 20, np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 3, (colour, colour, colour), -1)
    return image


@pytest.fixture
def normals() -> ImageSet:
    return ImageSet.from_hwc([picture(colour) for colour in (120, 140, 160, 180)])


def test_without_a_recipe_there_is_nothing_to_learn_from(normals: ImageSet) -> None:
    assert anomalies().of(None, normals) is None


def test_candidates_that_want_the_same_of_the_same_images_share_a_source(normals: ImageSet) -> None:
    makes = anomalies()
    first = makes.of(TEXTURE, normals)
    assert makes.of(Recipe(("texture",), (0.5, 1.0)), normals) is first
    assert makes.of(TEXTURE, ImageSet.of(normals.pixels.copy())) is first
    assert makes.of(Recipe(("texture",), (0.2, 1.0)), normals) is not first


def test_other_images_have_a_source_that_draws_upon_them_alone(
    normals: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that is held out must not show in anomalies, be it as a patch."""
    seen: list[npt.NDArray[np.uint8]] = []
    monkeypatch.setattr(module, "create_source", lambda recipe, context, stock: seen.append(context.normals))
    makes = anomalies()
    for part in (normals, normals.take([2, 0]), normals.take([0, 2])):
        makes.of(TEXTURE, part)
        np.testing.assert_array_equal(seen[-1], part.hwc)
    assert len(seen) == 3


def test_the_study_s_seed_decides_the_pairs(normals: ImageSet) -> None:
    first, again, other = (drawn_on(anomalies(seed), TEXTURE, normals) for seed in (0, 0, 1))
    assert first == again != other


def test_pairs_do_not_depend_on_what_was_asked_before(normals: ImageSet) -> None:
    wanted = drawn_on(anomalies(), TEXTURE, normals)
    makes = anomalies()
    for opacity in (0.1, 0.2, 0.3):
        drawn_on(makes, Recipe(("texture",), (opacity, 1.0)), normals)
    assert drawn_on(makes, TEXTURE, normals) == wanted


def test_every_recipe_has_other_anomalies_not_the_same_ones_fainter(normals: ImageSet) -> None:
    makes = anomalies()
    masks = [
        source_of(makes, Recipe(("texture",), (opacity, opacity)), normals).pairs(normals, 8).masks
        for opacity in (0.5, 1.0)
    ]
    assert bool((masks[0] != masks[1]).any())


def test_at_most_two_sources_are_kept_the_two_asked_for_last(normals: ImageSet) -> None:
    makes = anomalies()
    one, two, three = (Recipe(("texture",), (opacity, 1.0)) for opacity in (0.1, 0.2, 0.3))
    first, second = makes.of(one, normals), makes.of(two, normals)
    assert makes.of(one, normals) is first  # now the second was not asked for the longest
    gone = weakref.ref(second)
    del second
    third = makes.of(three, normals)
    gc.collect()
    assert gone() is None
    assert makes.of(one, normals) is first
    assert makes.of(three, normals) is third


class Stock:
    """Opens a stock of pictures of one grey, and counts how often."""

    def __init__(self, folder: Path, normals: ImageSet) -> None:
        self.opened = 0
        self._pool = ImagePool(folder, {})
        requests = [Request(image, 0.3, 5) for image in normals.hwc]
        self._pool.get(requests, lambda bases, *_: np.full_like(bases, GREY))

    def __call__(self) -> SeededPool:
        self.opened += 1
        return SeededPool(self._pool, 5)


def colours(pairs: Pairs) -> list[set[int]]:
    """What each anomaly consists of."""
    found = zip(pairs.anomalous.pixels, pairs.masks.numpy(), strict=True)
    return [set(image[:, mask].ravel().tolist()) for image, mask in found]


@pytest.mark.parametrize("families", [("sdas",), ("texture", "sdas")])
def test_the_stock_is_opened_only_for_recipes_with_sdas(
    families: tuple[str, ...], normals: ImageSet, tmp_path: Path
) -> None:
    stock = Stock(tmp_path, normals)
    makes = TrainingAnomalies(0, None, stock)
    makes.of(None, normals)
    makes.of(TEXTURE, normals)
    makes.of(Recipe(("cutpaste",), (1.0, 1.0)), normals)
    assert stock.opened == 0
    recipe = Recipe(families, (1.0, 1.0), (0.1, 0.5))
    pairs = source_of(makes, recipe, normals).pairs(normals, 12)
    assert stock.opened == 1
    shown = colours(pairs)
    assert {GREY} in shown
    assert all(found == {GREY} for found in shown) == (families == ("sdas",))


def test_images_of_another_size_than_the_pictures_learn_from_these_too(normals: ImageSet, tmp_path: Path) -> None:
    makes = TrainingAnomalies(0, None, Stock(tmp_path, normals))
    large = ImageSet.from_hwc([picture(colour, 64) for colour in (120, 150)])
    assert colours(source_of(makes, SDAS, large).pairs(large, 4)) == [{GREY}] * 4


def test_a_lost_stock_is_told_of_every_time(normals: ImageSet) -> None:
    def lost() -> SeededPool:
        raise StoreError("lost")

    makes = TrainingAnomalies(0, None, lost)
    for _ in range(2):
        with pytest.raises(StoreError, match="lost"):
            makes.of(SDAS, normals)
    assert makes.of(TEXTURE, normals) is not None


def test_the_user_s_textures_are_drawn(normals: ImageSet, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "white.png"), np.full((64, 64, 3), 255, np.uint8))
    with_them = TrainingAnomalies(0, tmp_path, no_stock)
    assert drawn_on(with_them, TEXTURE, normals) != drawn_on(anomalies(), TEXTURE, normals)
