"""Scores of good images by detectors that did not see them: what promises are computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from automl_ad.bundle.calibration import Calibration
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation, score_maps
from automl_ad.methods.base import Detector

Fit = Callable[[ImageSet], Detector]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OutOfFold:
    """Good images as seen by detectors fitted to the others.

    Attributes:
        maps: float32 [n, h, w], of all images.
        rows: One image of each group of near-duplicates, the one with the highest score: a picture saved twice
            promises no more than once.
        calibration: Of these.
    """

    maps: Maps
    rows: npt.NDArray[np.int64]
    calibration: Calibration

    @classmethod
    def of(cls, fit: Fit, normals: ImageSet, groups: Sequence[int], rule: ScoreAggregation, folds: int) -> OutOfFold:
        """Fits a detector a fold; near-duplicates stay in one fold, or their scores would be of images all but seen.

        Args:
            fit: Makes a fitted detector of good images.
            normals: All of them.
            groups: Near-duplicate group of each.
            rule: Turns maps into scores.
            folds: At most so many; fewer if there are fewer groups.

        Raises:
            ValueError: There are fewer than two groups.
        """
        maps = _maps(fit, normals, np.asarray(groups), folds)
        scores = score_maps(maps, rule, normals.size)
        rows = _highest(scores, np.asarray(groups))
        return cls(maps, rows, Calibration.of(scores[rows], maps[rows], normals.size))


def _maps(fit: Fit, normals: ImageSet, groups: npt.NDArray[np.int64], folds: int) -> Maps:
    splitter = GroupKFold(n_splits=min(folds, len(np.unique(groups))))
    parts: list[tuple[npt.NDArray[np.int64], Maps]] = []
    for train, is_locked in splitter.split(groups, groups=groups):
        parts.append((is_locked, fit(normals.take(train)).anomaly_maps(normals.take(is_locked))))
    order = np.argsort(np.concatenate([is_locked for is_locked, _ in parts]))
    return np.concatenate([maps for _, maps in parts])[order]


def _highest(scores: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row with the highest score of each group, in the order in which groups first appear."""
    members = [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]
    return np.array([rows[scores[rows].argmax()] for rows in members])
