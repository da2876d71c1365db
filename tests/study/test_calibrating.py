"""Out-of-fold scores: by whom each image is seen, and what near-duplicates count for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.study.calibrating import OutOfFold

SIDE = 32


class Remembering:
    """Knows by its brightness which images it was fitted to, and scores them 0; others get their brightness."""

    def __init__(self, normals: ImageSet) -> None:
        self.seen = set(normals.pixels[:, 0, 0, 0].tolist())

    def anomaly_maps(self, images: ImageSet) -> np.ndarray:
        marks = images.pixels[:, 0, 0, 0]
        values = np.array([0 if mark in self.seen else mark for mark in marks.tolist()], np.float32)
        return np.broadcast_to(values[:, None, None], (len(values), 4, 4)).copy()


def bright(values: list[int]) -> ImageSet:
    return ImageSet.of(np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 3, SIDE, SIDE)))


def run(values: list[int], groups: list[int], folds: int) -> tuple[OutOfFold, list[int]]:
    sizes: list[int] = []

    def fit(normals: ImageSet) -> Any:
        sizes.append(len(normals))
        return Remembering(normals)

    return OutOfFold.of(fit, bright(values), groups, ScoreAggregation("max"), folds), sizes


def test_no_image_is_scored_by_a_detector_that_saw_it() -> None:
    found, sizes = run([10, 20, 30, 40, 50], [0, 1, 2, 3, 4], 5)
    assert found.maps[:, 0, 0].tolist() == [10, 20, 30, 40, 50]
    assert found.calibration.scores.tolist() == [10, 20, 30, 40, 50]
    assert sizes == [4] * 5


def test_near_duplicates_stay_together_and_count_once_with_the_highest() -> None:
    found, sizes = run([10, 20, 30, 40, 50, 60], [0, 1, 0, 2, 1, 3], 3)
    assert found.maps[:, 0, 0].tolist() == [10, 20, 30, 40, 50, 60]
    assert found.rows.tolist() == [2, 4, 3, 5]
    assert found.calibration.scores.tolist() == [30, 50, 40, 60]
    assert len(sizes) == 3


def test_no_more_folds_than_groups() -> None:
    _, sizes = run([10, 20, 30, 40], [0, 0, 1, 1], 5)
    assert sizes == [2, 2]


def test_one_group_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="n_splits"):
        run([10, 20], [0, 0], 5)
