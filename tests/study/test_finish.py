"""The winner, fitted on all normals and calibrated on folds that it did not see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from automl_ad.data.image_set import ImageSet
from automl_ad.store.records import CandidateRecord
from automl_ad.study.finish import refit

WINNER = CandidateRecord(
    number=3,
    state="complete",
    method="padim",
    params={"side": 32, "levels": [-1], "backbone": "embedded"},
    rule="max",
)


class Seeing:
    """Maps of the brightness of an image, ten higher where it was not fitted to that image."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def anomaly_maps(self, images: ImageSet) -> npt.NDArray[np.float32]:
        marks = images.pixels[:, 0, 0, 0].astype(np.float32)
        unseen = ~np.isin(marks, self.seen)
        return np.tile((marks + 10 * unseen)[:, None, None], (1, 4, 4)).astype(np.float32)


@pytest.fixture
def context() -> Any:
    """Six good images, of which the last two are near-duplicates."""
    pixels = np.arange(1, 7, dtype=np.uint8)[:, None, None, None] + np.zeros((6, 3, 32, 32), np.uint8)
    normals = SimpleNamespace(groups=(0, 1, 2, 3, 4, 4))
    data = SimpleNamespace(normals=normals, at=lambda side: SimpleNamespace(normals=ImageSet.of(pixels)))

    def fit(detector: Seeing, images: ImageSet) -> None:
        detector.seen = images.pixels[:, 0, 0, 0].tolist()

    return SimpleNamespace(data=data, build=lambda configuration: Seeing(), fit=fit)


def test_it_sees_all_normals_and_is_calibrated_on_such_as_it_did_not_see(context: Any) -> None:
    found = refit(context, WINNER, folds=5)
    assert found.detector.seen == [1, 2, 3, 4, 5, 6]  # type: ignore[attr-defined]
    assert found.rule.name == "max"
    assert found.rows.tolist() == [0, 1, 2, 3, 5]  # of two near-duplicates the one that scores higher
    assert sorted(found.calibration.scores) == [11, 12, 13, 14, 16]
    assert found.map_range == pytest.approx((13.5, 16), abs=0.01)


@pytest.mark.parametrize(("folds", "fits"), [(3, 4), (5, 6), (50, 6)])
def test_it_tells_of_every_fit(context: Any, folds: int, fits: int) -> None:
    """No more folds than groups, and one fit to all."""
    told: list[tuple[int, int]] = []
    refit(context, WINNER, folds, lambda done, total: told.append((done, total)))
    assert told == [(done, fits) for done in range(fits)]
