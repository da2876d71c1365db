from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.data.splits import MIN_IMAGES, Splits, split
from automl_ad.errors import InputError


def hashes_of(count: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)]


def contents(splits: Splits, hashes: list[str]) -> list[set[str]]:
    return [{hashes[i] for i in part} for part in (splits.train, splits.validation, splits.holdout)]


@st.composite
def grouped(draw: Callable[..., object]) -> tuple[list[str], list[int]]:
    count = draw(st.integers(MIN_IMAGES, 120))
    extra = draw(st.lists(st.integers(0, count - 1), max_size=60))
    return hashes_of(count + len(extra)), [*range(count), *extra]


@given(images=grouped(), seed=st.integers(0, 5))
def test_every_image_is_in_one_part_and_groups_stay_together(images: tuple[list[str], list[int]], seed: int) -> None:
    hashes, groups = images
    parts = split(hashes, groups, seed)
    assert sorted(parts.train + parts.validation + parts.holdout) == list(range(len(hashes)))
    kinds = [{groups[i] for i in part} for part in (parts.train, parts.validation, parts.holdout)]
    assert sum(len(kind) for kind in kinds) == len(set(groups))
    assert [len(kind) >= least for kind, least in zip(kinds, (6, 3, 3), strict=True)] == [True] * 3


@given(images=grouped(), order=st.randoms(use_true_random=False))
def test_order_and_group_numbers_do_not_matter(images: tuple[list[str], list[int]], order: object) -> None:
    hashes, groups = images
    where = list(range(len(hashes)))
    order.shuffle(where)
    moved, renumbered = [hashes[i] for i in where], [1000 - groups[i] for i in where]
    assert contents(split(hashes, groups, 0), hashes) == contents(split(moved, renumbered, 0), moved)


@pytest.mark.parametrize(
    ("count", "sizes"), [(12, (6, 3, 3)), (40, (24, 10, 6)), (200, (120, 50, 30)), (3000, (2888, 64, 48))]
)
def test_shares(count: int, sizes: tuple[int, int, int]) -> None:
    parts = split(hashes_of(count), range(count), 0)
    assert (len(parts.train), len(parts.validation), len(parts.holdout)) == sizes


def test_the_seed_changes_the_division_and_chance_is_fair() -> None:
    hashes = hashes_of(40)
    certified = [set(split(hashes, range(40), seed).holdout) for seed in range(200)]
    assert certified[0] != certified[1]
    counts = np.bincount([i for chosen in certified for i in chosen], minlength=40)
    assert counts.sum() == 200 * 6
    assert counts.min() > 10  # 30 expected, standard deviation 5
    assert counts.max() < 55


def test_an_image_saved_many_times_goes_to_the_train_part() -> None:
    groups = [*range(40), *[7] * 60]
    for seed in range(20):
        parts = split(hashes_of(100), groups, seed)
        assert 7 in parts.train
        assert (len(parts.validation), len(parts.holdout)) == (10, 6)


def test_too_few_distinct_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"only 11 distinct images among 30 .*at least 12, better 30"):
        split(hashes_of(30), [i % 11 for i in range(30)], 0)
