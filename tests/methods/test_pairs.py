"""Training pairs: which images, which anomalies, and that they belong together."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import numpy.typing as npt
import pytest
import torch

from automl_ad.data.image_set import ImageSet
from automl_ad.methods.pairs import Pairs, PairSource, draw_pairs

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


def test_sources_are_given_the_good_images_as_contiguous_rgb(normals: ImageSet) -> None:
    source = Squares()
    pairs = draw_pairs(normals, source, 6, np.random.default_rng(0))
    np.testing.assert_array_equal(np.stack(source.given), pairs.clean.hwc)
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


def turned(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Moves an image sideways by 1 to 60 pixels."""
    return np.roll(image, int(rng.integers(1, 61)), axis=1)


def test_good_images_are_varied_before_anomalies_are_drawn_on_them(normals: ImageSet) -> None:
    source, given, made = Squares(), list[npt.NDArray[np.uint8]](), list[npt.NDArray[np.uint8]]()

    def vary(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        given.append(image)
        made.append(turned(image, rng))
        return made[-1]

    pairs = draw_pairs(normals, source, 7, np.random.default_rng(0), vary)
    plain = draw_pairs(normals, Squares(), 7, np.random.default_rng(0))
    np.testing.assert_array_equal(np.stack(given), plain.clean.hwc)
    for seen in (pairs.clean.hwc, np.stack(source.given)):
        np.testing.assert_array_equal(seen, np.stack(made))
    assert all((before != after).any() for before, after in zip(given, made, strict=True))
    np.testing.assert_array_equal(pairs.masks.numpy(), (pairs.clean.pixels != pairs.anomalous.pixels).any(1))


def test_varied_images_are_no_rows_of_the_set_that_they_came_from(normals: ImageSet) -> None:
    """Or a cache would take the features of the images as they were for theirs."""
    before = normals.pixels.copy()
    pairs = draw_pairs(normals, Squares(), 7, np.random.default_rng(0), turned)
    assert pairs.clean.base is None
    assert pairs.clean.key == ImageSet.of(pairs.clean.pixels).key
    np.testing.assert_array_equal(normals.pixels, before)


def test_the_generator_decides_how_images_are_varied(normals: ImageSet) -> None:
    first, again, other = (
        draw_pairs(normals, Squares(), 7, np.random.default_rng(seed), turned).clean.key for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_same_request_gives_the_very_same_pairs(normals: ImageSet) -> None:
    source = Squares()
    anomalies = PairSource(source, seed=0)
    first = anomalies.pairs(normals, 6)
    assert anomalies.pairs(normals, 6) is first
    assert anomalies.pairs(ImageSet.of(normals.pixels.copy()), 6) is first  # equal images, whoever holds them
    varied = anomalies.pairs(normals, 6, "turned", turned)
    assert anomalies.pairs(normals, 6, "turned", turned) is varied
    assert len(source.given) == 12


@pytest.mark.parametrize("change", ["count", "images", "variation"])
def test_another_request_draws_anew_and_forgets_the_first(normals: ImageSet, change: str) -> None:
    source = Squares()
    anomalies = PairSource(source, seed=0)
    first = anomalies.pairs(normals, 6)
    if change == "count":
        other = anomalies.pairs(normals, 8)
    elif change == "images":
        other = anomalies.pairs(normals.take([4, 3, 2]), 6)
    else:
        other = anomalies.pairs(normals, 6, "turned", turned)
    assert other.clean.key != first.clean.key
    assert len(source.given) == 6 + len(other)
    held = weakref.ref(first)
    del first
    gc.collect()
    assert held() is None
    anomalies.pairs(normals, 6)
    assert len(source.given) == 12 + len(other)


def test_equal_seeds_give_equal_pairs_whatever_was_asked_between(normals: ImageSet) -> None:
    wanted = PairSource(Squares(), seed=3).pairs(normals, 6)
    anomalies = PairSource(Squares(), seed=3)
    anomalies.pairs(normals, 9)
    anomalies.pairs(normals, 6, "turned", turned)
    again = anomalies.pairs(normals, 6)
    assert (again.clean.key, again.anomalous.key) == (wanted.clean.key, wanted.anomalous.key)
    assert bool((again.masks == wanted.masks).all())
    assert PairSource(Squares(), seed=4).pairs(normals, 6).anomalous.key != wanted.anomalous.key


def test_pairs_are_those_that_a_generator_of_the_seed_draws(normals: ImageSet) -> None:
    kept, free = PairSource(Squares(), seed=5).pairs(normals, 6), drawn(normals, 6, seed=5)
    assert (kept.clean.key, kept.anomalous.key) == (free.clean.key, free.anomalous.key)


def test_notes_belong_to_the_pairs_that_they_were_made_of(normals: ImageSet) -> None:
    anomalies = PairSource(Squares(), seed=0)
    anomalies.pairs(normals, 6).derived["sum"] = torch.ones(1)
    assert list(anomalies.pairs(normals, 6).derived) == ["sum"]
    assert anomalies.pairs(normals, 7).derived == {}
    assert anomalies.pairs(normals, 6).derived == {}
