from __future__ import annotations

import numpy as np
import pytest

from automl_ad.data.groups.splitting import find_split


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [16, 40, 200])
@pytest.mark.parametrize("kind", ["normal", "uniform", "heavy", "ring"])
def test_one_population_is_not_divided(kind: str, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, number)
    points = {
        "normal": rng.normal(size=(number, 5)),
        "uniform": rng.uniform(size=(number, 5)),
        "heavy": rng.standard_t(3, (number, 5)),
        "ring": np.stack([np.cos(angles), np.sin(angles), *rng.normal(0, 0.1, (3, number))], axis=1),
    }[kind]
    assert find_split(points, max(3, number // 12), 0.01) is None


@pytest.mark.parametrize(("one", "other"), [(6, 6), (20, 20), (90, 10)])
def test_two_populations_are_divided(one: int, other: int) -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(one + other, 5))
    points[one:, 2] += 15
    split = find_split(points, 3, 0.01)
    assert split is not None
    assert split.clarity >= 1
    assert (split.second == (np.arange(one + other) >= one)).all() or (
        split.second == (np.arange(one + other) < one)
    ).all()


def test_a_few_points_between_two_populations_do_not_join_them() -> None:
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.normal(size=(30, 2)), rng.normal((20, 0), 1, (30, 2)), [[7, 0], [13, 0]]])
    split = find_split(points, 5, 0.01)
    assert split is not None
    assert abs(int(split.second.sum()) - 31) <= 1


def test_differences_below_the_floor_have_no_meaning() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(0, 0.001, (40, 2))
    points[20:] += 0.05
    assert find_split(points, 4, 0.001) is not None
    assert find_split(points, 4, 0.1) is None


def test_equal_points_are_not_divided() -> None:
    assert find_split(np.ones((20, 3)), 3, 0.01) is None
