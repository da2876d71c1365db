"""Training pairs: which images, which anomalies, and that they belong together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.pairs import Pairs, draw_pairs

COUNT, SIZE = 5, (32, 64)


class Squares:
    """Inverts a square at a random place, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[npt.NDArray[np.uint8]] = []

    def draw(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        self.given.append(image)
        mask = np.zeros(image.shape[:2], np.bool_)
        top, left = rng.integers(0, 20, 2)
        mask[top : top + 8, left : left + 8] = True
        return np.where(mask[..., None], 255 - image, image), mask


@pytest.fixture
def normals() -> ImageSet:
    return ImageSet.of(np.random.default_rng(0).integers(0, 256, (COUNT, 3, *SIZE), np.uint8))


def drawn(normals: ImageSet, count: int, seed: int = 0) -> Pairs:
    return draw_pairs(normals, Squares(), count, np.random.default_rng(seed))


def rows_of(pairs: Pairs, normals: ImageSet) -> list[int]:
    """Which of the normals each good image of the pairs is, by its pixels."""
    equal = (pairs.clean.pixels[:, None] == normals.pixels[None]).all((2, 3, 4))
    assert (equal.sum(1) == 1).all()
    return [int(row) for row in equal.argmax(1)]


@pytest.mark.parametrize("count", [1, 3, 5, 7, 15])
def test_no_image_serves_twice_before_all_served_once(normals: ImageSet, count: int) -> None:
    pairs = drawn(normals, count)
    rows = rows_of(pairs, normals)
    assert len(pairs) == len(rows) == len(pairs.anomalous) == len(pairs.masks) == count
    for start in range(0, count, COUNT):
        turn = rows[start : start + COUNT]
        assert len(set(turn)) == len(turn)


def test_rounds_come_in_different_orders(normals: ImageSet) -> None:
    rows = rows_of(drawn(normals, 8 * COUNT), normals)
    assert len({tuple(rows[start : start + COUNT]) for start in range(0, 8 * COUNT, COUNT)}) > 4


def test_masks_are_where_good_and_anomalous_differ(normals: ImageSet) -> None:
    pairs = drawn(normals, 12)
    changed = (pairs.clean.pixels != pairs.anomalous.pixels).any(1)
    np.testing.assert_array_equal(pairs.masks.numpy(), changed)
    assert changed.sum((1, 2)).tolist() == [64] * 12


def test_sources_are_given_the_good_pictures_as_contiguous_rgb(normals: ImageSet) -> None:
    source = Squares()
    pairs = draw_pairs(normals, source, 6, np.random.default_rng(0))
    np.testing.assert_array_equal(np.stack(source.given), pairs.clean.pictures)
    assert all(image.flags.c_contiguous and image.shape == (*SIZE, 3) for image in source.given)


def test_every_drawing_on_an_image_is_another(normals: ImageSet) -> None:
    pairs = drawn(normals, 4 * COUNT)
    assert len({mask.numpy().tobytes() for mask in pairs.masks}) > 3 * COUNT


def test_the_seed_decides_everything(normals: ImageSet) -> None:
    first, again, other = (drawn(normals, 9, seed) for seed in (1, 1, 2))
    assert (first.clean.key, first.anomalous.key) == (again.clean.key, again.anomalous.key)
    assert bool((first.masks == again.masks).all())
    assert first.anomalous.key != other.anomalous.key


def test_good_images_are_named_as_rows_of_their_set(normals: ImageSet) -> None:
    """So a cache that knows features of the normals need not compute them again."""
    pairs = drawn(normals, 7)
    assert pairs.clean.base is normals
    assert pairs.clean.rows is not None
    assert pairs.clean.rows.tolist() == rows_of(pairs, normals)
