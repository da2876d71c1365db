"""What a detector makes of the place where an anomaly was drawn, by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl_ad.evaluation.localisation import LEAST_SHARE, localisation_scores

MAP = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
"""Over masks of 8 x 8, each of its pixels stands for 16."""


def score(
    values: npt.NDArray[np.float32], *pixels: tuple[slice | int, slice | int], size: tuple[int, int] = (8, 8)
) -> float:
    """The score of one map under a mask that is True at some places."""
    mask = np.zeros((1, *size), np.bool_)
    for place in pixels:
        mask[(0, *place)] = True
    return float(localisation_scores(values[None], mask)[0])


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(0, 4), slice(0, 4), 1.0),
        (slice(0, 4), slice(4, 8), 2.0),
        (slice(4, 8), slice(0, 4), 3.0),
        (slice(0, 8), slice(0, 4), 3.0),
        (slice(0, 4), slice(0, 8), 2.0),
        (slice(0, 8), slice(0, 8), 4.0),
    ],
)
def test_it_is_the_highest_value_on_the_anomaly_whatever_is_elsewhere(
    rows: slice, columns: slice, expected: float
) -> None:
    assert score(MAP, (rows, columns)) == expected


def test_a_pixel_of_the_map_counts_once_a_quarter_of_it_is_covered() -> None:
    left = (slice(0, 4), slice(0, 4))
    assert LEAST_SHARE == 0.25
    assert score(MAP, left, (0, slice(4, 8))) == 2.0  # 4 of 16
    assert score(MAP, left, (0, slice(4, 7))) == 1.0  # 3 of 16


def test_of_an_anomaly_that_covers_no_pixel_so_far_the_best_covered_counts() -> None:
    assert score(MAP, (0, 0)) == 1.0
    assert score(MAP, (0, 0), (0, 1), (7, 7)) == 1.0  # 2 of 16 against 1 of 16
    assert score(MAP, (0, 0), (7, 7)) == 4.0  # as much of either


def test_rows_are_rows_and_columns_are_columns() -> None:
    wide = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    assert score(wide, (slice(4, 8), slice(0, 4)), size=(8, 12)) == 4.0
    assert score(wide, (slice(0, 4), slice(8, 12)), size=(8, 12)) == 3.0


def test_a_map_as_large_as_the_image_is_read_under_the_mask() -> None:
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert score(values, (2, slice(3, 6)), (1, 7)) == 21.0


def test_every_map_is_read_under_its_own_mask() -> None:
    masks = np.zeros((3, 8, 8), np.bool_)
    masks[0, :4, :4] = masks[1, 4:, 4:] = masks[2, :4] = True
    found = localisation_scores(np.stack([MAP, -MAP, 10 * MAP]), masks)
    assert found.dtype == np.float64
    assert found.tolist() == [1.0, -4.0, 20.0]


@given(
    arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)),
    arrays(np.bool_, (32, 48)).filter(lambda mask: bool(mask.any())),
)
def test_it_is_some_value_of_the_map_and_under_a_full_mask_its_highest(
    values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> None:
    found, full = localisation_scores(np.stack([values] * 2), np.stack([mask, np.ones_like(mask)]))
    assert found in values
    assert found <= full == values.max()
