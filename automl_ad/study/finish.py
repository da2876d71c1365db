"""The winner of a search, fitted on all normals and calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from automl_ad.bundle.calibration import Calibration
from automl_ad.data.image_set import ImageSet
from automl_ad.evaluation.aggregation import ScoreAggregation
from automl_ad.methods.base import Detector
from automl_ad.store.records import CandidateRecord
from automl_ad.study.calibrating import OutOfFold
from automl_ad.study.candidate import configuration_of
from automl_ad.study.trial import StudyContext


def _unheard(done: int, total: int) -> None:
    """Progress that nobody watches."""
    del done, total


@dataclass(frozen=True)
class Winner:
    """A candidate refitted on all normals, with what its promises rest on.

    Attributes:
        detector: Fitted on every normal of the study.
        rule: How its maps become scores.
        calibration: Of the distinct normals, out of fold.
        rows: Which normals these are.
        map_range: Middle (0.5) and top (0.999) quantile of the normals' out-of-fold maps, to colour heatmaps by.
    """

    detector: Detector
    rule: ScoreAggregation
    calibration: Calibration
    rows: npt.NDArray[np.int64]
    map_range: tuple[float, float]


def refit(
    context: StudyContext, record: CandidateRecord, folds: int, tell: Callable[[int, int], None] = _unheard
) -> Winner:
    """Fits a candidate on all normals and calibrates it on folds that it did not see.

    Args:
        bench: The study's images and backbones.
        record: The candidate.
        folds: Parts of the normals, each seen by a detector fitted to the others.
        tell: Called before each fit with how many are done and how many there are.
    """
    configuration = configuration_of(record)
    views, groups = context.data.at(configuration.side), context.data.normals.groups
    rule, fits = ScoreAggregation.parse(str(record.rule)), count()
    total = min(folds, len(set(groups))) + 1

    def fit(normals: ImageSet) -> Detector:
        tell(next(fits), total)
        detector = context.build(configuration)
        context.fit(detector, normals)
        return detector

    unseen = OutOfFold.of(fit, views.normals, groups, rule, folds)
    quantiles = np.quantile(unseen.maps, [0.5, 0.999])
    map_range = (float(quantiles[0]), float(quantiles[1]))
    return Winner(fit(views.normals), rule, unseen.calibration, unseen.rows, map_range)
